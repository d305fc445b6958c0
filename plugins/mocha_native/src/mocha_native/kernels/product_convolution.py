"""Convolution of few pixels as a matrix product, see csrc/kernels/convolution_columns.h."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING

from mocha_core.api import PLAIN, Layouts, Runnable, Spec
from mocha_native.channels_last import SLOWER, ChannelsLast
from mocha_native.compiled import Array, Buffers, Compiled, NativeKernel, Series
from mocha_native.kernels.channels_last_convolution import SmallConvolution
from mocha_native.kernels.channels_last_winograd import winograd
from mocha_native.kernels.inner_product import InnerProduct

if TYPE_CHECKING:
    from mocha_core.api import Call
    from mocha_native.backend import NativeBackend

#: At most so many pixels, of all images, where training packs filters anew in each iteration.
TRAINED = 128
#: At most so many pixels, and at least so many elements of filters, where these are packed once: memory sets the pace.
PREDICTED, FAR = 16, 1 << 19


#: What an element of a column costs, in multiply-adds of vectors.
SCATTER = 4


class ProductConvolution(InnerProduct):
    """An inner product whose rows are the columns of pixels. It reads and updates filters in their plain layout.

    Attributes:
        sizes: pixels of all results, filters, and elements of a filter.
        shapes: the arguments of the C kernels between blobs and columns.
    """

    masks_bottom = True
    lanes = False

    def __init__(self, backend: NativeBackend, call: Call, layout: ChannelsLast) -> None:
        NativeKernel.__init__(self, backend, call)
        (images, channels, *size), (_, filters, *top_size) = call.ins[0].shape, call.outs[0].shape
        self.sizes = images * prod(top_size), filters, prod(call.ins[1].shape[1:])
        geometry = [*self.op.kernel[::-1], *self.op.stride[::-1], *self.op.pad[::-1]]
        self.shapes = [images, channels, *size, layout.padded(channels), *geometry, *top_size]
        self.folds_updates = self.sizes[0] <= backend.isa.constants["inner_product_rows"]
        self.layouts = Layouts(ins=(layout, PLAIN, PLAIN), outs=(layout,), gradients=(layout, PLAIN, PLAIN))
        columns = Spec((self.sizes[0], self.sizes[2]), self.dtype)
        self.forward_workspace = (columns,)
        self.backward_workspace = (columns, columns, self.backward_room())

    def cost(self, trains: bool) -> float:
        pixels, filters, elements = self.sizes
        half = SLOWER * pixels * filters * elements / self.backend.lanes[self.dtype].width + pixels * elements * SCATTER
        return half * (3 if trains else 1)

    def rectified(self, ins: Buffers, outs: Buffers, add: Sequence[bool], floor: float) -> Runnable:
        (x, w, b), (y, columns) = ins, outs
        return Series(
            self.bind("convolution_columns", [x, columns], self.shapes),
            self.bind("inner_product_dots", [columns, w, b, y], self.sizes, [floor]),
        )

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
        (dy, x, w), (dx, dw, db, columns, gradients, room) = ins[:3], outs
        parts: list[Compiled] = []
        if dw is not None or 1 in updates:
            parts.append(self.bind("convolution_columns", [x, columns], self.shapes))
        inner = [None if dx is None else gradients, dw, db, room]
        product = super().updating_backward([dy, columns, w], inner, [False, *add[1:]], None, 0.0, updates, status)
        parts += product.parts
        if dx is not None:
            parts.append(self.bind("convolution_columns_back", [gradients, dx, mask], [*self.shapes, add[0]], [floor]))
        return Series(*parts)


def product_convolution(backend: NativeBackend, call: Call) -> ProductConvolution | None:
    """Declines groups, filters that fill no whole vectors, and so many pixels that packed filters are faster."""
    y, layout, groups = call.outs[0], backend.small_layout(call.ins[0]), call.op.n_group  # type: ignore[attr-defined]
    filters, pixels = y.shape[1], y.shape[0] * prod(y.shape[2:])
    if layout is None or groups > 1 or layout.padded(filters) > filters:
        return None
    trained = backend.choice.trains and pixels <= min(TRAINED, filters)
    pays = trained or (pixels <= PREDICTED and call.ins[1].spec.size >= FAR)
    other = winograd(backend, call) or SmallConvolution(backend, call, layout)
    kernel = ProductConvolution(backend, call, layout)
    return kernel if backend.faster(kernel, other, pays) else None
