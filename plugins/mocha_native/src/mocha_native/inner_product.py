"""Inner product: three matrix products in registers' tiles, see csrc/kernels/inner_product.h."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, prod
from typing import TYPE_CHECKING

from mocha_core.kernel import Runnable
from mocha_core.layout import PLAIN, Layouts
from mocha_core.value import ITEMSIZE, Spec
from mocha_native.compiled import Array, Buffers, Compiled, NativeKernel, Series, floating

if TYPE_CHECKING:
    from mocha_core.plan import Call
    from mocha_native.backend import NativeBackend


class InnerProduct(NativeKernel):
    """Blobs have lanes, except x where the gradient of w is computed: there lanes lie along the features."""

    rectifies = True

    def __init__(self, backend: NativeBackend, call: Call) -> None:
        super().__init__(backend, call)
        x, w = call.ins[:2]
        self.sizes = x.shape[0], w.shape[0], prod(x.shape[1:])
        layout = backend.blob_layout(x)
        self.lanes = layout is not PLAIN
        self.masks_bottom = self.lanes
        self.layouts = Layouts(ins=(layout,), outs=(layout,), gradients=(layout,), backward_ins=(PLAIN,))
        self.backward_workspace = (self.panels(),)

    def panels(self) -> Spec:
        """Room in which each thread packs an operand of backward."""
        rows, outputs, features = self.sizes
        depth = rows if self.lanes else max(rows, outputs)
        lanes = self.backend.lanes[self.dtype].width
        most = self.backend.isa.constants["inner_product_bytes"] // ITEMSIZE[self.dtype]
        return Spec((self.backend.threads, min(most, depth * -(-features // lanes) * lanes)), self.dtype)

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        return self.rectified(ins, outs, add, -inf)

    def rectified(self, ins: Buffers, outs: Buffers, add: Sequence[bool], floor: float) -> Runnable:
        rows, *more = self.sizes
        name, first = ("inner_product_lanes", len(ins[0])) if self.lanes else ("inner_product_dots", rows)
        return self.bind(name, [*ins, outs[0]], [first, *more], [floor])

    def backward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        return self.bottom_masked(ins, outs, add, None, 0.0)

    def bottom_masked(
        self, ins: Buffers, outs: Buffers, add: Sequence[bool], mask: Array | None, floor: float
    ) -> Runnable:
        (dy, x, w), (dx, dw, db, panels) = ins[:3], outs
        sizes = [*self.sizes, self.lanes, panels.shape[1]]
        parts: list[Compiled] = []
        if dx is not None:
            parts.append(
                self.bind("inner_product_data", [dy, w, dx, panels, mask], [*sizes, add[0]], [floor], meets=False)
            )
        if dw is not None:
            parts.append(self.bind("inner_product_weight", [dy, x, dw, panels], [*sizes, add[1]], meets=False))
        if db is not None:
            parts.append(self.bind("inner_product_bias", [dy, None, db], [*sizes, add[2]], meets=False))
        parts[-1].meets = True
        return Series(*parts) if len(parts) > 1 else parts[0]


inner_product = floating(InnerProduct)
