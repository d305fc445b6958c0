"""The ops of the core: they move, sum and check values."""

from __future__ import annotations

from collections.abc import Sequence

from mocha_core.compile.kernel import Runnable
from mocha_cuda.compiled import Buffers, CUDAKernel, served
from mocha_cuda.tables import Table


class Structural(CUDAKernel):
    """One of csrc/kernels/structural.cu."""

    family = "structural"


class Objective(Structural):
    """The weighted sum of the losses."""

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        table = Table(self.backend, [(x, float(w), 0) for x, w in zip(ins, self.op.weights, strict=True)])
        return self.bind("objective_forward", table, len(ins), outs[0], blocks=1)

    def backward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        terms = zip(outs, map(float, self.op.weights), map(int, add), strict=True)
        return self.bind("objective_backward", ins[0], Table(self.backend, [*terms]), len(outs), blocks=1)


class CheckFinite(Structural):
    """Sets the status cell where a value is not finite."""

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        n = ins[0].size
        return self.bind("check_finite_forward", *ins, n, self.op.fault, threads=n)


class Fill(Structural):
    """A constant into values that others add to."""

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        n = ins[0].size
        return self.bind("fill_forward", ins[0], n, float(self.op.number), threads=n)


objective = served(Objective)
check_finite = served(CheckFinite)
fill = served(Fill)
