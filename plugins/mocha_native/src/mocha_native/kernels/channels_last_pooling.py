"""Pooling of few images, see csrc/kernels/channels_last_pooling.h."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import TYPE_CHECKING

from mocha_core.api import Layouts, Runnable
from mocha_native.channels_last import ChannelsLast, SmallKernel, small
from mocha_native.compiled import Buffers

if TYPE_CHECKING:
    from mocha_core.api import Call
    from mocha_native.backend import NativeBackend


class SmallPooling(SmallKernel):
    """Maximum or mean. If a step reads the places of the maxima, they are plain."""

    rectifies = True

    def __init__(self, backend: NativeBackend, call: Call, layout: ChannelsLast) -> None:
        super().__init__(backend, call, layout)
        (images, channels, height, width), op = call.ins[0].shape, self.op
        windows = [*op.kernel[::-1], *op.stride[::-1], *op.pad[::-1], *call.outs[0].shape[2:]]
        self.sizes = [images, channels, height, width, self.padded(channels), *windows]
        self.layouts = Layouts(ins=(layout,), outs=(layout,))

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        return self.rectified(ins, outs, add, -inf)

    def rectified(self, ins: Buffers, outs: Buffers, add: Sequence[bool], floor: float) -> Runnable:
        return self.bind(f"channels_last_{self.op.name}", [ins[0], *outs], self.sizes, [floor])

    def backward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        # For a maximum, ins is (dy, None for the winners' gradient, x, y, winners).
        winners = ins[4:5]
        return self.bind(f"channels_last_{self.op.name}_backward", [ins[0], outs[0], *winners], [*self.sizes, add[0]])


pooling = small(SmallPooling)
