"""Local response normalization of few images, see csrc/kernels/channels_last_lrn.h."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mocha_core.kernel import Runnable
from mocha_core.layout import Layouts
from mocha_core.value import Spec
from mocha_native.channels_last import ChannelsLast, SmallKernel, small
from mocha_native.compiled import Buffers

if TYPE_CHECKING:
    from mocha_core.plan import Call
    from mocha_native.backend import NativeBackend


class SmallLRN(SmallKernel):
    """Within channels, or across them: then the workspace holds a line of channels for each thread."""

    def __init__(self, backend: NativeBackend, call: Call, layout: ChannelsLast) -> None:
        super().__init__(backend, call, layout)
        images, channels, height, width = call.ins[0].shape
        kernel, self.across = self.op.kernel, self.op.name == "lrn_across_channel"
        self.numbers = (self.op.scale / kernel ** (1 if self.across else 2), self.op.shift, self.op.power)
        self.sizes = (images, self.padded(channels), height, width, kernel, channels)
        self.layouts = Layouts(ins=(layout,), outs=(layout,))
        if self.across:
            self.forward_workspace = (Spec((backend.threads, self.padded(channels) + kernel), self.dtype),)

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        name = "channels_last_lrn_across" if self.across else "channels_last_lrn_within"
        line = outs[1].shape[1] if self.across else 0
        return self.bind(name, [ins[0], *outs], [*self.sizes, line], self.numbers)


lrn = small(SmallLRN)
