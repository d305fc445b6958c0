"""Fusion of softmax loss, objective and both their gradients: probabilities and the loss's gradient are not written.

It is for nets with one loss, whose gradient is known before the loss is: the seed times the weight.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mocha_core.fusion import Graph, Rewritten
from mocha_core.kernel import Runnable
from mocha_core.op import Op
from mocha_core.plan import Call, Half, Step, forward_step
from mocha_core.plugins import registries
from mocha_core.selection import Selector
from mocha_core.structural import Objective
from mocha_core.value import Spec
from mocha_native.compiled import Buffers, NativeKernel, Series
from mocha_native.losses import SoftmaxLoss, logs, mean_loss
from mocha_native.softmax import sizes
from mocha_native.structural import Objective as ObjectiveKernel

if TYPE_CHECKING:
    from mocha_native.backend import NativeBackend


class SoftmaxLossStep(Op):
    """objective = weight * the softmax loss `inner`, and the gradient of its prediction.

    Inputs: those of the softmax loss (prediction (N, classes, ...), int32 labels, cells valid_rows and status), and the
    seed, the gradient of the objective. Outputs: the objective, without axes; the gradient, shaped like the prediction.
    A label out of range puts the fault of the softmax loss into the status.
    """

    name = "native.softmax_loss_step"
    updates = (3,)
    inner: Call
    objective: Call

    def infer(self, *x: Spec) -> tuple[Spec, ...]:
        return self.objective.outs[0].spec, x[0]


def one_step(graph: Graph, root: Step) -> Rewritten | None:
    """A softmax loss's backward step, the objective's that wrote the gradient it reads, and their forward steps."""
    inner = root.call
    backward = graph.maker(root.ins[0])
    if backward is None or backward.key != (Objective.name, Half.BACKWARD):
        return None
    objective, loss = backward.call, inner.outs[0]
    forward, total = graph.maker(loss), graph.maker(objective.outs[0])
    if objective.ins != (loss,) or forward is None or forward.call is not inner:
        return None
    seed, dx = backward.ins[0], root.outs[0]
    if total is None or total.call is not objective or seed is None or dx is None or any((*backward.add, *root.add)):
        return None
    call = Call(
        SoftmaxLossStep(inner, objective), (*inner.ins, seed), (objective.outs[0], dx, inner.outs[-1]), inner.layer
    )
    # Not in the backward section: what checks the objective there is in the forward one.
    return [forward, total, backward, root], forward_step(call, forward.section)


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
    """Declines where the softmax loss or the objective is not computed by the kernels here."""
    op = call.op
    assert isinstance(op, SoftmaxLossStep)
    selector = Selector(backend, registries())
    able = isinstance(selector.choose(op.inner), SoftmaxLoss)
    able = able and isinstance(selector.choose(op.objective), ObjectiveKernel)
    return SoftmaxLossStepKernel(backend, call) if able else None
