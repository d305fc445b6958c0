"""Softmax loss, multinomial logistic loss and square loss."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING, Any

from mocha_core.kernel import Runnable
from mocha_core.value import Spec
from mocha_cuda.compiled import THREADS, Buffers, CUDAKernel, Series, served
from mocha_cuda.softmax import lanes, sizes

if TYPE_CHECKING:
    from mocha_core.plan import Call
    from mocha_cuda.backend import CUDABackend

#: Up to so many turns of a thread, one block sums alone: a second kernel would take longer.
TURNS = 8
#: At most; one block adds their sums.
MOST_BLOCKS = 1024


def blocks_to_sum(threads: int) -> int:
    """Blocks for a sum. Depends on its length only, so that it is the same on every device."""
    turns = -(-threads // THREADS)
    return 1 if turns <= TURNS else min(turns, MOST_BLOCKS)


class Loss(CUDAKernel):
    """The mean over so many numbers as the rows that count times `each`."""

    family = "losses"
    each: int

    def plan_sum(self, threads: int, each: int) -> None:
        """Say how long the sum is, and what divides it."""
        self.blocks, self.each = blocks_to_sum(threads), each
        self.forward_workspace = (Spec((self.blocks,), self.dtype),) if self.blocks > 1 else ()

    def mean(
        self,
        name: str,
        inputs: Buffers,
        valid_rows: Any,
        loss: Any,
        more: Buffers,
        numbers: Sequence[float],
        weight: float = 1.0,
    ) -> Runnable:
        """The forward kernel `name` and, if it has several blocks, what adds their sums. `more` ends with the sums."""
        part = self.bind(name, *inputs, loss, *more, *numbers, blocks=self.blocks)
        if self.blocks == 1:
            return part
        rows = self.call.ins[0].shape[0]
        operands = [more[-1], self.blocks, valid_rows, rows, self.each, loss, weight]
        whole = self.bind("mean_of_sums", *operands, blocks=1)
        return Series(part, whole)


class SoftmaxLoss(Loss):
    """Probabilities are not written where nobody reads them."""

    def __init__(self, backend: CUDABackend, call: Call) -> None:
        super().__init__(backend, call)
        rows, classes, positions = sizes(call.ins[0])
        self.lanes = lanes(classes, positions)
        self.plan_sum(rows * positions * self.lanes, positions)

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        loss, probability, sums = outs[0], outs[1], outs[3] if self.blocks > 1 else None
        shape = [*sizes(self.call.ins[0]), self.op.fault, self.lanes]
        return self.mean("softmax_loss_forward", ins, ins[2], loss, [probability, sums], shape)

    def backward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        dy, labels, valid_rows, probability, dx = ins[0], ins[4], ins[5], ins[8], outs[0]
        operands = [dy, labels, valid_rows, probability, dx, *sizes(self.call.ins[0]), add[0]]
        return self.bind("softmax_loss_backward", *operands, threads=dx.size)


class MultinomialLogisticLoss(Loss):
    """Of given probabilities."""

    def __init__(self, backend: CUDABackend, call: Call) -> None:
        super().__init__(backend, call)
        rows, _, positions = sizes(call.ins[0])
        self.plan_sum(rows * positions, positions)

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        loss, sums = outs[0], outs[2] if self.blocks > 1 else None
        shape = [*sizes(self.call.ins[0]), self.op.fault]
        return self.mean("multinomial_logistic_loss_forward", ins, ins[2], loss, [sums], shape)

    def backward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        dy, probability, labels, valid_rows, dx = ins[0], *ins[2:5], outs[0]
        operands = [dy, probability, labels, valid_rows, dx, *sizes(self.call.ins[0]), add[0]]
        return self.bind("multinomial_logistic_loss_backward", *operands, threads=dx.size)


class SquareLoss(Loss):
    """loss = 1 / (2 n) * sum of (prediction - label)**2 over the first n rows."""

    def __init__(self, backend: CUDABackend, call: Call) -> None:
        super().__init__(backend, call)
        shape = call.ins[0].shape
        self.sizes = shape[0], prod(shape[1:])
        self.plan_sum(prod(shape), 2)

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        loss, sums = outs[0], outs[1] if self.blocks > 1 else None
        return self.mean("square_loss_forward", ins, ins[2], loss, [sums], self.sizes)

    def backward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        dy, prediction, label, valid_rows = ins[0], *ins[1:4]
        # The gradients of prediction and label, and not that of valid_rows.
        operands = [dy, prediction, label, valid_rows, *outs[:2], *self.sizes, *add[:2]]
        return self.bind("square_loss_backward", *operands, threads=prediction.size)


multinomial_logistic_loss = served(MultinomialLogisticLoss)
softmax_loss = served(SoftmaxLoss)
square_loss = served(SquareLoss)
