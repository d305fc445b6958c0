"""The ops of the core: they move, sum and check values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mocha_core.api import Runnable
from mocha_cuda.compiled import MOST, Buffers, CUDAKernel, served, striding
from mocha_cuda.tables import Table

if TYPE_CHECKING:
    from mocha_core.api import Call
    from mocha_cuda.backend import CUDABackend


class Structural(CUDAKernel):
    """A kernel in csrc/kernels/structural.cu."""

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
    """Writes a constant into values to which later steps add."""

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        n = ins[0].size
        return self.bind("fill_forward", ins[0], n, float(self.op.number), threads=n)


class Commit(Structural):
    """Copies values of any dtypes into others, in one launch."""

    def __init__(self, backend: CUDABackend, call: Call) -> None:
        super().__init__(backend, call)
        self.dtype = "float32"  # it copies ints (4 bytes), so that of either dtype serves

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        count = self.op.count
        status = ins[0] if len(ins) > 2 * count else None
        rows, blocks = [], 0
        for source, target in zip(ins[len(ins) - 2 * count :], outs, strict=False):
            ints = -(-source.nbytes // 4)
            share = striding(self.backend, ints)
            rows.append((source, target, ints, blocks, share))
            blocks += share
        return self.bind("commit_forward", status, Table(self.backend, rows), len(rows), blocks=blocks)


def commit(backend: CUDABackend, call: Call) -> Commit | None:
    """Declines more elements than ints can count."""
    return Commit(backend, call) if all(value.spec.size < MOST for value in call.ins) else None


objective = served(Objective)
check_finite = served(CheckFinite)
fill = served(Fill)
