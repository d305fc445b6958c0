"""Fusion of softmax loss, objective and both their gradients, without writing probabilities or the loss's gradient.

It is for nets with one loss, whose gradient is known before the loss: the seed times the weight. It is the same for
every backend. To use it, a backend registers a kernel for the op that the rewrite makes. If it also registers
`checked_step`, the kernel checks that the objective is finite, too.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from mocha_core.api import (
    Call,
    Graph,
    Half,
    Kernel,
    Objective,
    Op,
    Rewritten,
    Selector,
    Spec,
    Step,
    forward_step,
    registries,
)

if TYPE_CHECKING:
    from mocha_core.api import Backend


class SoftmaxLossStep(Op):
    """objective = weight * the softmax loss `inner`, and the gradient of its prediction.

    Inputs: those of the softmax loss (prediction (N, classes, ...), int32 labels, cells valid_rows and status), and the
    seed, the gradient of the objective. Outputs: the objective, without axes; the gradient, shaped like the prediction.
    A label out of range puts the fault of the softmax loss into the status. If the op replaces a `check`, a call of
    `mocha.check_finite`, an objective that is not finite puts the fault of the check there.
    """

    name = "softmax_loss_step"
    updates = (3,)
    inner: Call
    objective: Call
    check: Call | None = None

    def infer(self, *x: Spec) -> tuple[Spec, ...]:
        return self.objective.outs[0].spec, x[0]

    def replaces(
        self, backend: Backend, loss: type[Kernel], objective: type[Kernel], check: type[Kernel] | None = None
    ) -> bool:
        """Whether kernels of these classes would compute the softmax loss, the objective and the check alone."""
        selector = Selector(backend, registries())
        uses = ((self.inner, loss), (self.objective, objective), (self.check, check))
        return all(kernel and isinstance(selector.choose(call), kernel) for call, kernel in uses if call)


def one_step(graph: Graph, root: Step) -> Rewritten | None:
    """Joins a softmax loss's backward step, the objective's that writes its gradient, and their forward steps."""
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
    # Not in the backward section: the step that checks the objective is in the forward section.
    return [forward, total, backward, root], forward_step(call, forward.section)


def checked_step(graph: Graph, root: Step) -> Rewritten | None:
    """Joins the step that computes an objective and the check that it is finite. The fault stays that of the check."""
    objective, status = root.ins
    step = graph.maker(objective)
    if step is None or not isinstance(step.call.op, SoftmaxLossStep):
        return None
    op, ins = step.call.op, step.call.ins
    if op.check is not None or op.objective.outs != (objective,) or status not in ins:
        return None
    return [step, root], forward_step(replace(step.call, op=replace(op, check=root.call)), step.section)
