"""Local response normalization of few images, see csrc/kernels/channels_last_lrn.h."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mocha_core.api import Layouts, Runnable, Spec
from mocha_native.channels_last import ChannelsLast, SmallKernel, small
from mocha_native.compiled import Buffers, Series

if TYPE_CHECKING:
    from mocha_core.api import Call
    from mocha_native.backend import NativeBackend


class SmallLRN(SmallKernel):
    """Windows within channels, or across them. For the latter the workspace holds lines of channels for each thread."""

    def __init__(self, backend: NativeBackend, call: Call, layout: ChannelsLast) -> None:
        super().__init__(backend, call, layout)
        images, channels, height, width = call.ins[0].shape
        kernel, self.across = self.op.kernel, self.op.name == "lrn_across_channel"
        line = self.padded(channels) + kernel
        self.numbers = (self.op.scale / kernel ** (1 if self.across else 2), self.op.shift, self.op.power)
        self.sizes = [images, self.padded(channels), height, width, kernel, channels, line]
        self.layouts = Layouts(ins=(layout,), outs=(layout,))
        if self.across:
            self.forward_workspace = (Spec((backend.threads, line), self.dtype),)
            self.backward_workspace = (Spec((backend.threads, 3, line), self.dtype),)
        else:
            self.backward_workspace = (layout.physical(call.ins[0].spec),) * 2

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        name = "channels_last_lrn_across" if self.across else "channels_last_lrn_within"
        return self.bind(name, [ins[0], *outs], self.sizes, self.numbers)

    def backward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        (dy, x), (dx, *workspace), sizes = ins[:2], outs, [*self.sizes, add[0]]
        if self.across:
            return self.bind("channels_last_lrn_across_backward", [dy, x, dx, *workspace], sizes, self.numbers)
        return Series(
            self.bind("channels_last_lrn_within_factors", [dy, x, *workspace], sizes, self.numbers),
            self.bind("channels_last_lrn_within_backward", [*workspace, x, dx], sizes, self.numbers),
        )


lrn = small(SmallLRN)
