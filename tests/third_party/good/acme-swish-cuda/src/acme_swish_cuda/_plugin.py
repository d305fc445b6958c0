from __future__ import annotations

from typing import TYPE_CHECKING

from mocha_core import hookimpl

if TYPE_CHECKING:
    from mocha_core.api import Candidates


@hookimpl
def mocha_register_kernels(kernels: Candidates) -> None:
    kernels.add("acme.swish", "cuda", "acme_swish_cuda.swish:build")
    kernels.add("acme.nesterov", "cuda", "acme_swish_cuda.nesterov:build")
