"""Updates of parameters: all of those that follow each other in a program are one launch."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mocha_layers_std.regularizers import penalty

from mocha_core.api import BoundStep, Runnable
from mocha_cuda.compiled import THREADS, Buffers, CUDAKernel, Launch, served
from mocha_cuda.tables import Table

if TYPE_CHECKING:
    from mocha_core.api import Call
    from mocha_cuda.backend import CUDABackend

#: The number of elements that a block updates; the same as in csrc/update.cuh.
TILE = 4 * THREADS


class Update(Launch):
    """A bound update of one parameter or several.

    Args:
        parameters: a row of the kernel's table for each, without its first block: w, g, the slots, numbers, the number
            of elements, the fault. The kernel takes the table, the number of its rows, and then the cells.
        cells: the cells and the status, which all of them read.
    """

    def __init__(
        self,
        backend: CUDABackend,
        family: str | Path,
        name: str,
        dtype: str,
        parameters: Sequence[Sequence[Any]],
        cells: Sequence[Any],
    ) -> None:
        self.key = (backend, family, name, dtype)
        self.parameters, self.cells = parameters, cells
        rows, blocks = [], 0
        for parameter in parameters:
            rows.append((*parameter, blocks))
            blocks += -(-parameter[0].size // TILE)
        super().__init__(backend, family, name, dtype, blocks, [Table(backend, rows), len(rows), *cells])

    @property
    def shared(self) -> Hashable:  # type: ignore[override]
        return *self.key, *map(id, self.cells)

    def joined(self, others: Sequence[Update]) -> Update:
        return Update(*self.key, [row for update in (self, *others) for row in update.parameters], self.cells)


class UpdateKernel(CUDAKernel):
    """A kernel of an `UpdateOp`, which updates any number of parameters in one launch. csrc/kernels/sgd.cu is one.

    Attributes:
        entry: the name of the CUDA kernel.
    """

    entry: str

    def numbers(self) -> Sequence[float]:
        """The numbers in the row of a parameter: the learning rate's multiplier, and the penalty's factors."""
        return self.op.multiplier, *(penalty(self.op) or ())

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        arrays, cells = ins[: 2 + len(self.op.slots)], ins[2 + len(self.op.slots) :]
        row = (*arrays, *map(float, self.numbers()), int(ins[0].size), int(self.op.fault))
        return Update(self.backend, self.family, self.entry, self.dtype, [row], cells)


def update(kernel: type[UpdateKernel]) -> Callable[[CUDABackend, Call], UpdateKernel | None]:
    """A builder of the kernel that declines constraints, and regularizers of other plugins."""

    def build(backend: CUDABackend, call: Call) -> UpdateKernel | None:
        op: Any = call.op
        return None if penalty(op) is None else served(kernel)(backend, call)

    return build


def merged(bound: Sequence[BoundStep]) -> list[BoundStep]:
    """The steps, where those that follow each other and share a launch are the launch of the first."""

    def shared(step: BoundStep) -> Any:
        key = step.run.shared if isinstance(step.run, Launch) else None
        return key and (step.step.section, key)

    steps: list[BoundStep] = []
    for key, group in groupby(bound, shared):
        first, *others = group
        if key and others:
            whole: Any = first.run
            whole = whole.joined([other.run for other in others])
            first, others = replace(first, run=whole), [replace(other, run=_done) for other in others]
        steps += [first, *others]
    return steps


def _done() -> None:
    """Does nothing: this launch was joined to an earlier one."""
