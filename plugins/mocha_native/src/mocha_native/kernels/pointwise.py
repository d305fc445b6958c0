"""Convolutions with filters of 1x1 and stride 1 as matrix products, see csrc/kernels/pointwise.h."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, prod
from typing import TYPE_CHECKING

from mocha_core.api import PLAIN, Half, Layouts, Runnable, Spec
from mocha_native.compiled import Array, Buffers, Compiled, NativeKernel, Series
from mocha_native.kernels.convolution import convolution
from mocha_native.layout import Lanes
from mocha_native.matrix_product import room_elements

if TYPE_CHECKING:
    from mocha_core.api import Call
    from mocha_native.backend import NativeBackend


#: What copying a vector of x or writing one of y costs, in multiply-adds of vectors.
COPY = 8


class Pointwise(NativeKernel):
    """Blobs are in lanes. Filters are read in their plain layout.

    Attributes:
        sizes: blocks of images, channels of x and of y, and pixels.
    """

    rectifies = True
    masks_bottom = True
    takes_epilogue = tuple(Half)

    def __init__(self, backend: NativeBackend, call: Call, layout: Lanes) -> None:
        super().__init__(backend, call)
        batch, channels, *size = call.ins[0].shape
        filters, pixels = call.outs[0].shape[1], prod(size)
        self.sizes = -(-batch // layout.width), channels, filters, pixels
        self.layouts = Layouts(ins=(layout, PLAIN, PLAIN), outs=(layout,), gradients=(layout, PLAIN, PLAIN))
        columns = pixels * layout.width
        self.forward_workspace = (self.room(filters, channels, columns),)
        products = ((channels, filters, columns), (filters, columns, channels))
        self.backward_workspace = tuple(self.room(*product) for product in products)

    def room(self, rows: int, depth: int, columns: int) -> Spec:
        """Of each thread for a product of these sizes."""
        return Spec((self.backend.threads, room_elements(self.backend, self.dtype, rows, depth, columns)), self.dtype)

    def cost(self, trains: bool) -> float:
        blocks, channels, filters, pixels = self.sizes
        return float(blocks * pixels * (channels * filters + COPY * (channels + filters))) * (3 if trains else 1)

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        return self.rectified(ins, outs, add, -inf)

    def rectified(self, ins: Buffers, outs: Buffers, add: Sequence[bool], floor: float) -> Runnable:
        (x, w, bias), (y, room) = ins, outs
        sizes = [*self.sizes, w.shape[1], 1, room.shape[1], add[0]]
        return self.bind("pointwise", [x, w, bias, None, y, room, self.epilogue], sizes, [floor, -inf])

    def backward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        return self.bottom_masked(ins, outs, add, None, -inf)

    def bottom_masked(
        self, ins: Buffers, outs: Buffers, add: Sequence[bool], mask: Array | None, floor: float
    ) -> Runnable:
        (dy, x, w), (dx, dw, db, room, weights_room) = ins[:3], outs
        blocks, channels, filters, pixels = self.sizes
        parts: list[Compiled] = []
        if dw is not None:
            sizes = [*self.sizes, weights_room.shape[1], add[1]]
            parts.append(self.bind("pointwise_weights", [x, dy, dw, weights_room], sizes, meets=False))
        if db is not None:
            parts.append(self.bind("convolution_bias", [dy, db], [blocks, filters, pixels, add[2]], meets=False))
        if dx is not None:
            sizes = [blocks, filters, channels, pixels, 1, channels, room.shape[1], add[0]]
            buffers = [dy, w, None, mask, dx, room, self.epilogue]
            parts.append(self.bind("pointwise", buffers, sizes, [-inf, floor], meets=False))
        parts[-1].meets = True
        return Series(*parts)


def pointwise(backend: NativeBackend, call: Call) -> Pointwise | None:
    """Declines other filters, strides, pads and groups, and blobs that are not in lanes."""
    op, direct = call.op, convolution(backend, call)
    fits = op.kernel == op.stride == (1, 1) and op.pad == (0, 0) and op.n_group == 1  # type: ignore[attr-defined]
    if not (fits and direct):
        return None
    kernel = Pointwise(backend, call, backend.lanes[call.ins[0].dtype])
    return kernel if backend.faster(kernel, direct, True) else None
