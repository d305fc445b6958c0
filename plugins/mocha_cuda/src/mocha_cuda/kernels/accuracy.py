"""The statistic that counts right predictions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mocha_core.api import Runnable
from mocha_cuda.compiled import Buffers, served
from mocha_cuda.kernels.block_sums import BlockSum
from mocha_cuda.kernels.softmax import lanes, sizes

if TYPE_CHECKING:
    from mocha_core.api import Call
    from mocha_cuda.backend import CUDABackend


class Accuracy(BlockSum):
    """Adds the number of right predictions, and the number of labels, to the total."""

    family = "accuracy"

    def __init__(self, backend: CUDABackend, call: Call) -> None:
        super().__init__(backend, call)
        rows, classes, positions = sizes(call.ins[0])
        self.lanes = lanes(classes, positions)
        self.plan_sum(rows * positions * self.lanes, "int32")

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        operands = [*ins, *self.parts(outs), *sizes(self.call.ins[0]), self.op.fault, self.lanes]
        return self.bind("accuracy_forward", *operands, blocks=self.blocks)


accuracy = served(Accuracy)
