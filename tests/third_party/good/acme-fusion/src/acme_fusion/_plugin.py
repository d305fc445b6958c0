from __future__ import annotations

from typing import TYPE_CHECKING

from mocha_core import hookimpl

if TYPE_CHECKING:
    from mocha_core.api import Candidates, Registry


@hookimpl
def mocha_register_fusions(fusions: Candidates) -> None:
    fusions.add("relu", "forward", "cpu", "acme_fusion.inner_product_relu:rewrite")


@hookimpl
def mocha_register_kernels(kernels: Candidates) -> None:
    kernels.add("acme.inner_product_relu", "cpu", "acme_fusion.inner_product_relu:build")


@hookimpl
def mocha_register_ops(ops: Registry) -> None:
    ops.add("acme.inner_product_relu", "acme_fusion.inner_product_relu:InnerProductReLU")
