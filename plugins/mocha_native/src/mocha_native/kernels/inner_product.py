"""Inner product: three matrix products, see csrc/kernels/inner_product.h."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf, prod
from typing import TYPE_CHECKING

from mocha_core.api import PLAIN, Half, Layouts, Runnable, Spec
from mocha_native.compiled import Array, Buffers, Compiled, NativeKernel, Series, floating
from mocha_native.matrix_product import room_elements
from mocha_native.update import keep_status

if TYPE_CHECKING:
    from mocha_core.api import Call
    from mocha_native.backend import NativeBackend


class InnerProduct(NativeKernel):
    """Blobs are in lanes. Only for the gradient of w, the lanes of x hold features instead of samples."""

    rectifies = True

    def __init__(self, backend: NativeBackend, call: Call) -> None:
        super().__init__(backend, call)
        x, w = call.ins[:2]
        self.sizes = x.shape[0], w.shape[0], prod(x.shape[1:])
        layout = backend.row_layout(x)
        self.lanes = layout is not PLAIN
        self.masks_bottom = self.lanes
        # Of more rows, the gradient is computed in several parts.
        self.folds_updates = x.shape[0] <= backend.isa.constants["inner_product_rows"]
        self.layouts = Layouts(ins=(layout,), outs=(layout,), gradients=(layout,), backward_ins=(PLAIN,))
        self.backward_workspace = (self.backward_room(),)
        if self.lanes:
            # Not backward: updates are folded into that.
            self.takes_epilogue = (Half.FORWARD,)
            forward = room_elements(backend, self.dtype, *self.sizes[1:], 0)
            self.forward_workspace = (Spec((backend.threads, forward), self.dtype),)

    def backward_room(self) -> Spec:
        """For the products of both gradients."""
        rows, outputs, features = self.sizes
        of_data = (features, outputs, 0) if self.lanes else (rows, outputs, features)
        elements = [room_elements(self.backend, self.dtype, *of) for of in (of_data, (outputs, rows, features))]
        return Spec((self.backend.threads, max(elements)), self.dtype)

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        return self.rectified(ins, outs, add, -inf)

    def rectified(self, ins: Buffers, outs: Buffers, add: Sequence[bool], floor: float) -> Runnable:
        rows, *more = self.sizes
        if self.lanes:
            room = outs[1]
            buffers, sizes = [*ins, *outs, self.epilogue], [len(ins[0]), *more, room.shape[1]]
            return self.bind("inner_product_lanes", buffers, sizes, [floor])
        return self.bind("inner_product_dots", [*ins, *outs], [rows, *more], [floor])

    def backward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        return self.bottom_masked(ins, outs, add, None, 0.0)

    def bottom_masked(
        self, ins: Buffers, outs: Buffers, add: Sequence[bool], mask: Array | None, floor: float
    ) -> Runnable:
        return self.updating_backward(ins, outs, add, mask, floor, {}, None)

    def updating_backward(
        self,
        ins: Buffers,
        outs: Buffers,
        add: Sequence[bool],
        mask: Array | None,
        floor: float,
        updates: Mapping[int, tuple[Array, Compiled]],
        status: tuple[Array, Array] | None,
    ) -> Compiled:
        (dy, x, w), (dx, dw, db, room) = ins[:3], outs
        sizes = [*self.sizes, self.lanes, room.shape[1]]
        series: list[Compiled] = []
        if status:
            series.append(keep_status(self.backend, *status, meets=dx is None))
        if dx is not None:
            # Update w after the last read of its old contents.
            buffers, meets = [dy, w, dx, room, mask], bool(updates)
            series.append(self.bind("inner_product_data", buffers, [*sizes, add[0]], [floor], meets=meets))
        for index, name, gradient in ((1, "inner_product_weight", dw), (2, "inner_product_bias", db)):
            if index in updates:
                parameter, update = updates[index]
                series.append(self.bind(name, [dy, x, parameter, room, update], [*sizes, False], meets=False))
            elif gradient is not None:
                series.append(self.bind(name, [dy, x, gradient, room], [*sizes, add[index]], meets=False))
        series[-1].meets = True
        return Series(*series) if len(series) > 1 else series[0]


inner_product = floating(InnerProduct)
