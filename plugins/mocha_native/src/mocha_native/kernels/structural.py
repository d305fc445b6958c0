"""The ops of the core: they move, sum and check values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mocha_core.api import Runnable
from mocha_native.compiled import Array, Buffers, Compiled, NativeKernel, Series, floating

if TYPE_CHECKING:
    from mocha_core.api import Call
    from mocha_native.backend import NativeBackend

#: The same number as in csrc/kernels/structural.h.
MOST_LOSSES = 8
#: One thread copies up to this many bytes in less time than a barrier of all threads takes.
ALONE = 2**16


class Objective(NativeKernel):
    """The weighted sum of the losses."""

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        return self.bind("objective_forward", [outs[0], *ins], [len(ins)], self.op.weights, serial=True)

    def backward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        added = sum(adds << i for i, adds in enumerate(add))
        return self.bind("objective_backward", [ins[0], *outs], [len(outs), added], self.op.weights, serial=True)


class CheckFinite(NativeKernel):
    """Sets the status cell where a value is not finite."""

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        return self.bind("check_finite_forward", ins, [ins[0].size, self.op.fault], serial=True)


class Fill(NativeKernel):
    """Writes a constant into values to which later steps add."""

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        return self.bind("fill_forward", ins, [ins[0].size], [self.op.number])


class Gather(NativeKernel):
    """Gathers rows of a data set."""

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        (table, rows), (y,) = ins, outs
        return self.bind("gather_forward", [table, rows, y], [len(table), y.size // len(y), len(y)])


class Commit(NativeKernel):
    """Copies values of any dtypes into others, one after the other."""

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        count = self.op.count
        status = ins[0] if len(ins) > 2 * count else None
        sources = ins[len(ins) - 2 * count : len(ins) - count]
        pairs = zip(sources, outs, strict=True)
        return Series(*(self.part(status, *pair, last=i + 1 == count) for i, pair in enumerate(pairs)))

    def part(self, status: Array | None, source: Array, target: Array, last: bool) -> Compiled:
        """The copy of one value. The kernel copies bytes, so that the kernel of either dtype serves."""
        size = source.nbytes
        alone = size <= ALONE
        return Compiled(
            self.backend,
            "commit_forward_float32",
            [status, source, target],
            [size],
            serial=alone,
            meets=last or not alone,
        )


def objective(backend: NativeBackend, call: Call) -> Objective | None:
    """Declines if there are more losses than a kernel has operands."""
    return Objective(backend, call) if len(call.ins) <= MOST_LOSSES else None


check_finite = floating(CheckFinite)
fill = floating(Fill)
gather = floating(Gather)
