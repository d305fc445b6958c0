"""Softmax loss, multinomial logistic loss and square loss."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING

from mocha_core.kernel import Runnable
from mocha_native.compiled import Buffers, NativeKernel, floating
from mocha_native.softmax import sizes

if TYPE_CHECKING:
    from mocha_core.plan import Call
    from mocha_native.backend import NativeBackend


class SoftmaxLoss(NativeKernel):
    """The workspace takes the probabilities where nobody reads them."""

    def __init__(self, backend: NativeBackend, call: Call) -> None:
        super().__init__(backend, call)
        self.forward_workspace = (call.ins[0].spec,)

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        loss, probability, _, scratch = outs
        buffers = [*ins, loss, scratch if probability is None else probability]
        return self.bind("softmax_loss_forward", buffers, [*sizes(self.call.ins[0]), self.op.fault])

    def backward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        dy, labels, valid_rows, probability = ins[0], ins[4], ins[5], ins[8]
        buffers = [dy, labels, valid_rows, probability, outs[0]]
        return self.bind("softmax_loss_backward", buffers, [*sizes(self.call.ins[0]), add[0]])


class MultinomialLogisticLoss(NativeKernel):
    """Of given probabilities."""

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        operands = [*sizes(self.call.ins[0]), self.op.fault]
        return self.bind("multinomial_logistic_loss_forward", [*ins, outs[0]], operands, serial=True)

    def backward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        dy, probability, labels, valid_rows = ins[0], *ins[2:5]
        buffers = [dy, probability, labels, valid_rows, outs[0]]
        return self.bind("multinomial_logistic_loss_backward", buffers, [*sizes(self.call.ins[0]), add[0]])


class SquareLoss(NativeKernel):
    """loss = 1 / (2 n) * sum of (prediction - label)**2 over the first n rows."""

    def __init__(self, backend: NativeBackend, call: Call) -> None:
        super().__init__(backend, call)
        shape = call.ins[0].shape
        self.sizes = shape[0], prod(shape[1:])

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        return self.bind("square_loss_forward", [*ins, outs[0]], self.sizes, serial=True)

    def backward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        dy, prediction, label, valid_rows = ins[0], *ins[1:4]
        return self.bind(
            "square_loss_backward", [dy, prediction, label, valid_rows, *outs[:2]], [*self.sizes, *add[:2]]
        )


multinomial_logistic_loss = floating(MultinomialLogisticLoss)
softmax_loss = floating(SoftmaxLoss)
square_loss = floating(SquareLoss)
