"""The core's own plugin: kernels of the structural ops, on every backend."""

from mocha_core import hookimpl
from mocha_core.registry import Candidates


@hookimpl
def mocha_register_kernels(kernels: Candidates) -> None:
    kernels.add("mocha.fetch", "*", "mocha_core.transfer:FetchKernel")
    kernels.add("mocha.convert", "*", "mocha_core.transfer:ConvertKernel")
