"""Convolutions whose channels have one filter each, see csrc/kernels/depthwise.h."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, prod
from typing import TYPE_CHECKING

from mocha_core.api import PLAIN, Half, Layouts, Runnable
from mocha_native.channels_last import SLOWER, ChannelsLast
from mocha_native.compiled import Array, Buffers, Compiled, NativeKernel, Series
from mocha_native.layout import Lanes

if TYPE_CHECKING:
    from mocha_core.api import Call
    from mocha_native.backend import NativeBackend


class Depthwise(NativeKernel):
    """For blobs in lanes and for blobs with their channels last. Filters are read in their plain layout.

    Attributes:
        sizes: the arguments of the C kernels but for the last, whether a gradient is added.
        bias: the C kernel for the gradient of the bias, and its arguments but for the last.
    """

    rectifies = True
    masks_bottom = True

    def __init__(self, backend: NativeBackend, call: Call, layout: Lanes | ChannelsLast) -> None:
        super().__init__(backend, call)
        (batch, channels, *image), (*_, height, width) = call.ins[0].shape, call.outs[0].shape
        result = (height, width)
        # If there is one result, the stride has no effect, and may be larger than any image.
        stride = [s if n > 1 else 1 for s, n in zip(self.op.stride[::-1], result, strict=True)]
        if isinstance(layout, Lanes):
            images, vectors = -(-batch // layout.width), 0
            self.takes_epilogue = (Half.FORWARD,)
            self.bias = ("convolution_bias", [images, channels, prod(result)])
        else:
            images, padded = batch, layout.padded(channels)
            vectors = padded // layout.width
            self.bias = ("channels_last_bias_gradient", [images * prod(result), channels, padded])
        shapes = [*image, *call.ins[1].shape[2:], *result, *stride, *self.op.pad[::-1]]
        self.sizes = [images, channels, vectors, *shapes]
        self.layouts = Layouts(ins=(layout, PLAIN, PLAIN), outs=(layout,), gradients=(layout, PLAIN, PLAIN))

    def cost(self, trains: bool) -> float:
        images, channels, vectors = self.sizes[:3]
        taps, pixels = self.call.ins[1].shape[2:], self.call.outs[0].shape[2:]
        products: float = images * (SLOWER * vectors or channels) * prod(taps) * prod(pixels)
        return products * (3 if trains else 1)

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        return self.rectified(ins, outs, add, -inf)

    def rectified(self, ins: Buffers, outs: Buffers, add: Sequence[bool], floor: float) -> Runnable:
        return self.bind("depthwise_forward", [*ins, outs[0], self.epilogue], [*self.sizes, 0], [floor])

    def backward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        return self.bottom_masked(ins, outs, add, None, 0.0)

    def bottom_masked(
        self, ins: Buffers, outs: Buffers, add: Sequence[bool], mask: Array | None, floor: float
    ) -> Runnable:
        (dy, x, w), (dx, dw, db) = ins[:3], outs[:3]
        parts: list[Compiled] = []
        if dw is not None:
            parts.append(self.bind("depthwise_weights", [x, dy, dw], [*self.sizes, add[1]]))
        if db is not None:
            name, sizes = self.bias
            parts.append(self.bind(name, [dy, db], [*sizes, add[2]]))
        if dx is not None:
            parts.append(self.bind("depthwise_images", [dy, w, mask, dx], [*self.sizes, add[0]], [floor]))
        for part in parts[:-1]:
            part.meets = False
        return Series(*parts)


def depthwise(backend: NativeBackend, call: Call) -> Depthwise | None:
    """Declines other convolutions, filters of very many taps, and blobs that are in no layout of this backend."""
    x, w = call.ins[:2]
    if not w.shape[0] == x.shape[1] > w.shape[1] == 1:
        return None
    if prod(w.shape[2:]) > backend.isa.constants["depthwise_taps"]:
        return None
    layout = backend.small_layout(x) or backend.blob_layout(x)
    return Depthwise(backend, call, layout) if isinstance(layout, (Lanes, ChannelsLast)) else None
