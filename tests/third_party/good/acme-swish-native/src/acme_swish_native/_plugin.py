from __future__ import annotations

from typing import TYPE_CHECKING

from mocha_core import hookimpl

if TYPE_CHECKING:
    from mocha_core.api import Candidates


@hookimpl
def mocha_register_kernels(kernels: Candidates) -> None:
    kernels.add("acme.swish", "native", "acme_swish_native.swish:build")
    kernels.add("acme.nesterov", "native", "acme_swish_native.nesterov:build")


@hookimpl
def mocha_register_fusions(fusions: Candidates) -> None:
    fusions.add("acme.nesterov", "forward", "native", "mocha_native.api:fold_update")
