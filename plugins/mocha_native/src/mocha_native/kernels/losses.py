"""Softmax loss, multinomial logistic loss and square loss."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING

from mocha_core.api import Runnable, Spec
from mocha_native.compiled import Array, Buffers, Compiled, NativeKernel, Series, floating
from mocha_native.kernels.softmax import sizes

if TYPE_CHECKING:
    from mocha_core.api import Call
    from mocha_native.backend import NativeBackend


def logs(call: Call) -> Spec:
    """The workspace for log(probability) at each label of a softmax or multinomial logistic loss."""
    return Spec(call.ins[1].shape, call.ins[0].dtype)


def mean_loss(
    kernel: NativeKernel, scratch: Array, ins: Buffers, loss: Array, fault: int, weight: float = 1.0
) -> Compiled:
    """The step that sums the logs in `scratch`, after all threads have written theirs.

    Args:
        kernel: the kernel; its call has the prediction as its first input.
        scratch: the logs.
        ins: labels, valid_rows and status.
        loss: the output, the mean times `weight`.
        fault: the status if a label is out of range.
    """
    return kernel.bind("mean_loss", [scratch, *ins, loss], [*sizes(kernel.call.ins[0]), fault], [weight], serial=True)


class SoftmaxLoss(NativeKernel):
    """If no step reads the probabilities, they are in the workspace."""

    def __init__(self, backend: NativeBackend, call: Call) -> None:
        super().__init__(backend, call)
        self.forward_workspace = (call.ins[0].spec, logs(call))

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        (x, labels, valid_rows, _), (loss, saved, _, spare, scratch) = ins, outs
        probability = spare if saved is None else saved
        rows = self.bind("softmax_loss_forward", [x, labels, valid_rows, probability, scratch], sizes(self.call.ins[0]))
        return Series(rows, mean_loss(self, scratch, ins[1:], loss, self.op.fault))

    def backward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        dy, labels, valid_rows, probability = ins[0], ins[4], ins[5], ins[8]
        buffers = [dy, labels, valid_rows, probability, outs[0]]
        return self.bind("softmax_loss_backward", buffers, [*sizes(self.call.ins[0]), add[0]])


class MultinomialLogisticLoss(NativeKernel):
    """The loss of given probabilities."""

    def __init__(self, backend: NativeBackend, call: Call) -> None:
        super().__init__(backend, call)
        self.forward_workspace = (logs(call),)

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        loss, _, scratch = outs
        rows = self.bind("multinomial_logistic_loss_forward", [*ins[:3], scratch], sizes(self.call.ins[0]))
        return Series(rows, mean_loss(self, scratch, ins[1:], loss, self.op.fault))

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
