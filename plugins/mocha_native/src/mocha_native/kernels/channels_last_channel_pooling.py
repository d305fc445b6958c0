"""Channel pooling of few images, see csrc/kernels/channels_last_channel_pooling.h."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING

from mocha_core.api import Layouts, Runnable
from mocha_native.channels_last import ChannelsLast, SmallKernel, small
from mocha_native.compiled import Buffers

if TYPE_CHECKING:
    from mocha_core.api import Call
    from mocha_native.backend import NativeBackend


class SmallChannelPooling(SmallKernel):
    """Maximum or mean. If a step reads the channels of the maxima, they are plain."""

    def __init__(self, backend: NativeBackend, call: Call, layout: ChannelsLast) -> None:
        super().__init__(backend, call, layout)
        rows, channels, *rest = call.ins[0].shape
        windows, op = call.outs[0].shape[1], self.op
        self.sizes = [rows, prod(rest), channels, self.padded(channels), windows, self.padded(windows)]
        self.sizes += [op.kernel, op.stride, op.pad[0]]
        self.layouts = Layouts(ins=(layout,), outs=(layout,))

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        return self.bind(f"channels_last_{self.op.name}", [ins[0], *outs], self.sizes)

    def backward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        winners = ins[4:5]
        return self.bind(f"channels_last_{self.op.name}_backward", [ins[0], outs[0], *winners], [*self.sizes, add[0]])


channel_pooling = small(SmallChannelPooling)
