"""Gathers minibatches of data sets on the device, and converts their labels to class indices."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

from mocha_core.api import Call, Graph, Half, Op, Rewritten, Runnable, Spec, Step, forward_step
from mocha_cuda.compiled import Buffers, CUDAKernel, Launch, served, striding

if TYPE_CHECKING:
    from mocha_cuda.backend import CUDABackend


class GatherLabels(Op):
    """Gathers rows of labels, and converts them to class indices.

    Inputs: the labels of a data set, the cell with the rows' numbers, and the status, which is set if a label is not
    a whole number. Outputs: the rows; the class indices.
    """

    name = "gather_labels"
    updates = (2,)
    differentiable = ()
    gather: Call
    labels: Call

    def infer(self, *x: Spec) -> tuple[Spec, ...]:
        return self.gather.outs[0].spec, self.labels.outs[0].spec


def with_labels(graph: Graph, root: Step) -> Rewritten | None:
    """Joins the step that converts labels to class indices and the step that gathers them."""
    gather = graph.maker(root.ins[0])
    if gather is None or gather.key != ("mocha.gather", Half.FORWARD):
        return None
    op, (labels, status) = GatherLabels(gather.call, root.call), root.call.outs
    call = Call(op, (*gather.call.ins, root.call.ins[1]), (gather.call.outs[0], labels, status), root.call.layer)
    return [gather, root], forward_step(call, gather.section)


class Gathering(Launch):
    """A bound gather. Programs run it in the launch that begins a minibatch.

    Attributes:
        rows: the cell with the rows' numbers.
        columns: the columns of `gathering` in csrc/rows.cuh.
        blocks: the number of blocks.
    """

    def __init__(self, backend: CUDABackend, dtype: str, operands: Buffers, status: Any, fault: int) -> None:
        table, self.rows, y, labels = operands
        self.dtype = dtype
        self.blocks = striding(backend, y.size)
        elements, size, there = int(y.size), y.size // max(1, len(y)), len(table)
        self.columns = (table, y, labels, elements, size, there, fault)
        self._written = [(backend.device.address(a), int(a.nbytes)) for a in (y, labels) if a is not None]
        operands = [*operands, status, elements, size, there, fault]
        super().__init__(backend, "gather", "gather_forward", dtype, self.blocks, operands)

    def overlaps(self, other: Gathering) -> bool:
        """Whether both write to the same memory."""
        pairs = product(self._written, other._written)
        return any(a < b + b_bytes and b < a + a_bytes for (a, a_bytes), (b, b_bytes) in pairs)


def at_once(runs: Iterable[Runnable]) -> list[Gathering]:
    """The leading steps that are gathers and that one launch can do.

    The outputs of two gathers may share memory if no step reads the first; these need two launches.
    """
    gathers: list[Gathering] = []
    for run in runs:
        if not isinstance(run, Gathering) or any(run.overlaps(other) for other in gathers):
            break
        gathers.append(run)
    return gathers


class Gather(CUDAKernel):
    """Gathers rows of a data set."""

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        return Gathering(self.backend, self.dtype, [*ins, outs[0], None], None, 0)


class GatherWithLabels(CUDAKernel):
    """Gathers rows of labels, and converts them to class indices."""

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        return Gathering(self.backend, self.dtype, [*ins[:2], *outs[:2]], ins[2], self.op.labels.op.fault)

    @property
    def label(self) -> str:
        return "Gather + Labels"


def gather(backend: CUDABackend, call: Call) -> Gather | None:
    """Declines row numbers that are not int64. Programs always have int64."""
    return served(Gather)(backend, call) if call.ins[1].dtype == "int64" else None


def gather_labels(backend: CUDABackend, call: Call) -> GatherWithLabels | None:
    """As `gather`."""
    return served(GatherWithLabels)(backend, call) if call.ins[1].dtype == "int64" else None
