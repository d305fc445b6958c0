"""Softmax loss, multinomial logistic loss and square loss."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING

from mocha_core.api import Runnable
from mocha_cuda.compiled import Buffers, served
from mocha_cuda.kernels.block_sums import BlockSum
from mocha_cuda.kernels.softmax import lanes, sizes

if TYPE_CHECKING:
    from mocha_core.api import Call
    from mocha_cuda.backend import CUDABackend


class Loss(BlockSum):
    """The loss is the mean over the rows that count."""

    family = "losses"


class SoftmaxLoss(Loss):
    """The kernel does not write probabilities that no step reads."""

    def __init__(self, backend: CUDABackend, call: Call) -> None:
        super().__init__(backend, call)
        rows, classes, positions = sizes(call.ins[0])
        self.lanes = lanes(classes, positions)
        self.plan_sum(rows * positions * self.lanes, self.dtype)

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        operands = [*ins, *outs[:2], *self.parts(outs), *sizes(self.call.ins[0]), self.op.fault, self.lanes]
        return self.bind("softmax_loss_forward", *operands, blocks=self.blocks)

    def backward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        dy, labels, valid_rows, probability, dx = ins[0], ins[4], ins[5], ins[8], outs[0]
        operands = [dy, labels, valid_rows, probability, dx, *sizes(self.call.ins[0]), add[0]]
        return self.bind("softmax_loss_backward", *operands, threads=dx.size)


class MultinomialLogisticLoss(Loss):
    """The loss of given probabilities."""

    def __init__(self, backend: CUDABackend, call: Call) -> None:
        super().__init__(backend, call)
        rows, _, positions = sizes(call.ins[0])
        self.plan_sum(rows * positions, self.dtype)

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        operands = [*ins, outs[0], *self.parts(outs), *sizes(self.call.ins[0]), self.op.fault]
        return self.bind("multinomial_logistic_loss_forward", *operands, blocks=self.blocks)

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
        self.plan_sum(prod(shape), self.dtype)

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        operands = [*ins, outs[0], *self.parts(outs), *self.sizes]
        return self.bind("square_loss_forward", *operands, blocks=self.blocks)

    def backward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        dy, prediction, label, valid_rows = ins[0], *ins[1:4]
        # The gradients of prediction and label; valid_rows has none.
        operands = [dy, prediction, label, valid_rows, *outs[:2], *self.sizes, *add[:2]]
        return self.bind("square_loss_backward", *operands, threads=prediction.size)


multinomial_logistic_loss = served(MultinomialLogisticLoss)
softmax_loss = served(SoftmaxLoss)
square_loss = served(SquareLoss)
