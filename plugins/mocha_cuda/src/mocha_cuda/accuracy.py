"""The statistic that counts right predictions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mocha_core.kernel import Runnable
from mocha_core.value import Spec
from mocha_cuda.compiled import Buffers, CUDAKernel, Series, served
from mocha_cuda.losses import blocks_to_sum
from mocha_cuda.softmax import lanes, sizes

if TYPE_CHECKING:
    from mocha_core.plan import Call
    from mocha_cuda.backend import CUDABackend


class Accuracy(CUDAKernel):
    """Adds to the total how many labels are the class of the largest prediction, and how many there are."""

    family = "accuracy"

    def __init__(self, backend: CUDABackend, call: Call) -> None:
        super().__init__(backend, call)
        rows, classes, positions = sizes(call.ins[0])
        self.lanes = lanes(classes, positions)
        self.blocks = blocks_to_sum(rows * positions * self.lanes)
        self.forward_workspace = (Spec((self.blocks,), "int32"),) if self.blocks > 1 else ()

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        rows, classes, positions = sizes(self.call.ins[0])
        valid_rows, total, counts = ins[2], ins[4], outs[2] if self.blocks > 1 else None
        shape = [rows, classes, positions, self.op.fault, self.lanes]
        part = self.bind("accuracy_forward", *ins, counts, *shape, blocks=self.blocks)
        if self.blocks == 1:
            return part
        whole = self.bind("add_counts", counts, self.blocks, valid_rows, total, rows, positions, blocks=1)
        return Series(part, whole)


accuracy = served(Accuracy)
