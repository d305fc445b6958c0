"""A power of a linear function."""

from __future__ import annotations

from collections.abc import Sequence

from mocha_core.api import Layouts, Runnable
from mocha_native.compiled import Buffers, NativeKernel, floating


class Power(NativeKernel):
    """y = (scale * x + shift)**power."""

    layouts = Layouts(follow=True)
    in_chains = True

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        numbers = [self.op.scale, self.op.shift, self.op.power]
        return self.bind("power_forward", [ins[0], outs[0]], [outs[0].size], numbers)

    def backward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        numbers = [self.op.scale, self.op.shift, self.op.power]
        return self.bind("power_backward", [ins[0], ins[1], outs[0]], [outs[0].size, add[0]], numbers)


power = floating(Power)
