"""The standard neurons. Backward reads outputs only."""

from __future__ import annotations

from collections.abc import Sequence

from mocha_layers_std.neurons.lrelu import SLOPE

from mocha_core.api import Runnable
from mocha_cuda.compiled import Buffers, CUDAKernel, served


class Neuron(CUDAKernel):
    """y is a function of x; dx is dy times its slope, which depends on y."""

    family = "neurons"

    @property
    def number(self) -> float:
        """The constant in the function."""
        return float(getattr(self.op, "epsilon", SLOPE))

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        n = outs[0].size
        return self.bind(f"{self.op.name}_forward", ins[0], outs[0], n, self.number, threads=n)

    def backward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        (dy, _, y), dx = ins, outs[0]
        return self.bind(f"{self.op.name}_backward", dy, y, dx, dx.size, self.number, add[0], threads=dx.size)


neuron = served(Neuron)
