"""A power of a linear function."""

from __future__ import annotations

from collections.abc import Sequence

from mocha_core.api import Runnable
from mocha_cuda.compiled import Buffers, CUDAKernel, served


class Power(CUDAKernel):
    """y = (scale * x + shift)**power."""

    family = "power"

    @property
    def numbers(self) -> tuple[float, ...]:
        """Scale, shift and power."""
        return float(self.op.scale), float(self.op.shift), float(self.op.power)

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        n = outs[0].size
        return self.bind("power_forward", ins[0], outs[0], n, *self.numbers, threads=n)

    def backward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        (dy, x, *_), dx = ins, outs[0]
        return self.bind("power_backward", dy, x, dx, dx.size, *self.numbers, add[0], threads=dx.size)


power = served(Power)
