"""Softmax loss, objective and both their gradients as one step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mocha_layers_std.loss_step import SoftmaxLossStep

from mocha_core.api import Runnable
from mocha_native.compiled import Buffers, NativeKernel, Series
from mocha_native.kernels.losses import SoftmaxLoss, logs, mean_loss
from mocha_native.kernels.softmax import sizes
from mocha_native.kernels.structural import Objective

if TYPE_CHECKING:
    from mocha_core.api import Call
    from mocha_native.backend import NativeBackend


class SoftmaxLossStepKernel(NativeKernel):
    """Threads share the rows; one of them sums up."""

    def __init__(self, backend: NativeBackend, call: Call) -> None:
        super().__init__(backend, call)
        self.forward_workspace = (logs(call),)

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        (x, labels, valid_rows, status, seed), (objective, dx, _, scratch) = ins, outs
        weights = self.op.objective.op.weights
        rows = self.bind(
            "softmax_loss_step", [x, labels, valid_rows, seed, dx, scratch], sizes(self.call.ins[0]), weights
        )
        fault = self.op.inner.op.fault
        return Series(rows, mean_loss(self, scratch, [labels, valid_rows, status], objective, fault, *weights))

    @property
    def label(self) -> str:
        return "SoftmaxLoss + Objective + gradient"


def softmax_loss_step(backend: NativeBackend, call: Call) -> SoftmaxLossStepKernel | None:
    """Declines unless the kernels here compute the softmax loss and the objective."""
    op = call.op
    assert isinstance(op, SoftmaxLossStep)
    return SoftmaxLossStepKernel(backend, call) if op.replaces(backend, SoftmaxLoss, Objective) else None
