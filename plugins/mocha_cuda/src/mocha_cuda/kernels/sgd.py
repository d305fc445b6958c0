"""The update of stochastic gradient descent with momentum: all parameters of a program in one launch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

from mocha_layers_std.regularizers import L1Regu, L2Regu, NoRegu

from mocha_core.api import BoundStep, Runnable
from mocha_cuda.compiled import THREADS, Buffers, CUDAKernel, Launch, served
from mocha_cuda.tables import Table

if TYPE_CHECKING:
    from mocha_core.api import Call
    from mocha_cuda.backend import CUDABackend

#: The number of elements that a block updates; the same as in csrc/kernels/sgd.cu.
TILE = 4 * THREADS


class Cells(NamedTuple):
    """The arguments that the updates of one launch share."""

    rate: Any
    momentum: Any
    status: Any


class Update(Launch):
    """A bound update of one parameter or several.

    Attributes:
        parameters: the first eight columns of csrc/kernels/sgd.cu's table.
    """

    def __init__(self, backend: CUDABackend, dtype: str, parameters: Sequence[Sequence[Any]], cells: Cells) -> None:
        self.backend, self.dtype, self.parameters, self.cells = backend, dtype, parameters, cells
        rows, blocks = [], 0
        for parameter in parameters:
            rows.append((*parameter, blocks))
            blocks += -(-parameter[0].size // TILE)
        super().__init__(backend, "sgd", "sgd_forward", dtype, blocks, [Table(backend, rows), len(rows), *cells])

    @property
    def shared(self) -> tuple[Any, ...]:
        """A key that is equal for updates that can be one launch."""
        return self.dtype, *map(id, self.cells)


class SGD(CUDAKernel):
    """The kernel also computes the gradients of the standard regularizers. Of several faults it reports any one."""

    family = "sgd"

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        w, g, velocity, *cells = ins
        op, regularizer = self.op, self.op.regularizer
        strength = float(op.regu_coef * getattr(regularizer, "coefficient", 0.0))
        decay = 2 * strength if type(regularizer) is L2Regu else 0.0
        sparsity = strength if type(regularizer) is L1Regu else 0.0
        parameter = (w, g, velocity, float(op.multiplier), decay, sparsity, int(w.size), op.fault)
        return Update(self.backend, self.dtype, [parameter], Cells(*cells))


def sgd(backend: CUDABackend, call: Call) -> SGD | None:
    """Declines constraints, and regularizers of other plugins."""
    op: Any = call.op
    known = op.constraint is None and type(op.regularizer) in (type(None), NoRegu, L1Regu, L2Regu)
    return served(SGD)(backend, call) if known else None


def merged(bound: Sequence[BoundStep]) -> list[BoundStep]:
    """The steps, with updates that follow each other merged into the launch of the first; the others do nothing."""

    def shared(step: BoundStep) -> Any:
        return (step.step.section, *step.run.shared) if isinstance(step.run, Update) else None

    steps: list[BoundStep] = []
    for key, group in groupby(bound, shared):
        first, *others = group
        if key and others:
            updates = [step.run for step in (first, *others) if isinstance(step.run, Update)]
            parameters = [parameter for update in updates for parameter in update.parameters]
            whole = Update(updates[0].backend, updates[0].dtype, parameters, updates[0].cells)
            first, others = replace(first, run=whole), [replace(other, run=_done) for other in others]
        steps += [first, *others]
    return steps


def _done() -> None:
    """Does nothing: this update was merged into an earlier launch."""
