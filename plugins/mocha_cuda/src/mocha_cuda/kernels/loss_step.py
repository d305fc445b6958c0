"""Softmax loss, objective, both their gradients, and the check of the objective as one step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mocha_layers_std.loss_step import SoftmaxLossStep

from mocha_core.api import Runnable
from mocha_cuda.compiled import Buffers
from mocha_cuda.kernels.losses import SoftmaxLoss
from mocha_cuda.kernels.softmax import sizes
from mocha_cuda.kernels.structural import CheckFinite, Objective

if TYPE_CHECKING:
    from mocha_core.api import Call
    from mocha_cuda.backend import CUDABackend


class SoftmaxLossStepKernel(SoftmaxLoss):
    """The gradient takes the place of the probabilities that the softmax loss alone would write."""

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        weight = float(*self.op.objective.op.weights)
        faults = [self.op.inner.op.fault, self.op.check.op.fault if self.op.check else 0]
        numbers = [*sizes(self.call.ins[0]), *faults, self.lanes, weight]
        operands = [*ins, *outs[:2], *self.parts(outs), *numbers]
        return self.bind("softmax_loss_step", *operands, blocks=self.blocks)

    @property
    def label(self) -> str:
        return "SoftmaxLoss + Objective + gradient" + " + CheckFinite" * bool(self.op.check)


def softmax_loss_step(backend: CUDABackend, call: Call) -> SoftmaxLossStepKernel | None:
    """Declines unless the kernels here compute the softmax loss, the objective and the check."""
    op = call.op
    assert isinstance(op, SoftmaxLossStep)
    return SoftmaxLossStepKernel(backend, call) if op.replaces(backend, SoftmaxLoss, Objective, CheckFinite) else None
