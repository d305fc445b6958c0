"""Inner product: three matrix products in registers' tiles, see csrc/inner_product.h."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING

from mocha_core.kernel import Runnable
from mocha_core.value import ITEMSIZE, Spec
from mocha_native.compiled import Buffers, NativeKernel, floating

if TYPE_CHECKING:
    from mocha_core.plan import Call
    from mocha_native.backend import NativeBackend


class InnerProduct(NativeKernel):
    """The workspace holds a packed panel for each thread."""

    def __init__(self, backend: NativeBackend, call: Call) -> None:
        super().__init__(backend, call)
        x, w = call.ins[:2]
        self.sizes = rows, outputs, features = x.shape[0], w.shape[0], prod(x.shape[1:])
        self.forward_workspace = (self.panels(features),)
        self.backward_workspace = (self.panels(max(rows, outputs)),)

    def panels(self, depth: int) -> Spec:
        """Room for a panel of each thread, for a product that sums over `depth` terms."""
        constants = self.backend.isa.constants
        panel = min(depth, constants["panel_rows"]) * constants["panel_bytes"] // ITEMSIZE[self.dtype]
        return Spec((self.backend.threads, panel), self.dtype)

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        panel = outs[-1].shape[1]
        return self.bind("inner_product_forward", [*ins, *outs], [*self.sizes, panel])

    def backward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        panel = outs[-1].shape[1]
        return self.bind("inner_product_backward", [*ins[:3], *outs], [*self.sizes, panel, *add])


inner_product = floating(InnerProduct)
