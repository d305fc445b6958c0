"""The standard neurons, for blobs in any layout. Backward reads outputs only."""

from __future__ import annotations

from collections.abc import Sequence

from mocha_core.api import Layouts, Runnable
from mocha_native.compiled import Buffers, NativeKernel, floating


class Neuron(NativeKernel):
    """y is a function of x; dx is dy times its slope, which depends on y."""

    layouts = Layouts(follow=True)
    in_chains = True

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        epsilon = getattr(self.op, "epsilon", 0.0)
        return self.bind(f"{self.op.name}_forward", [ins[0], outs[0]], [outs[0].size], [epsilon])

    def backward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        (dy, _, y), dx = ins, outs[0]
        epsilon = getattr(self.op, "epsilon", 0.0)
        return self.bind(f"{self.op.name}_backward", [dy, y, dx], [dx.size, add[0]], [epsilon])


neuron = floating(Neuron)
