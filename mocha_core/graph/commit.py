"""How states and statistics change: steps update shadow copies, which are committed if the status is 0."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from mocha_core.graph.array_api import Array, Namespace
from mocha_core.graph.cells import Cell
from mocha_core.graph.op import Op
from mocha_core.graph.plan import Call, Phase, Plan, Section, Step, forward_step
from mocha_core.graph.value import Role, Spec, Value


class Copy(Op):
    """Copies values into others of the same specs. Inputs: `count` sources, then as many targets."""

    name = "mocha.copy"
    differentiable = ()
    count: int

    @property
    def updates(self) -> tuple[int, ...]:  # type: ignore[override]
        return tuple(range(self.count, 2 * self.count))

    def infer(self, *x: Spec) -> tuple[Spec, ...]:
        return ()

    def forward(self, xp: Namespace, *x: Array) -> tuple[Array, ...]:
        return x[: self.count]


class Commit(Op):
    """Copies as `Copy` does if the status is 0, and else changes nothing. Inputs: the status, sources, targets."""

    name = "mocha.commit"
    differentiable = ()
    count: int

    @property
    def updates(self) -> tuple[int, ...]:  # type: ignore[override]
        return tuple(range(1 + self.count, 1 + 2 * self.count))

    def infer(self, *x: Spec) -> tuple[Spec, ...]:
        return ()

    def forward(self, xp: Namespace, status: Array, *x: Array) -> tuple[Array, ...]:
        pairs = zip(x[: self.count], x[self.count :], strict=True)
        return tuple(xp.where(status == 0, source, target) for source, target in pairs)


def commit_updates(plan: Plan, status: Callable[[], Value]) -> None:
    """Let a recorded plan's steps update shadows of states and statistics, and commit those last.

    An iteration begins with a copy into the shadows, which its minibatches update one after the other. If sections run
    one by one, forward begins with the copy and ends with the commit. In the test phase states are not committed: each
    minibatch starts from the same states.

    Args:
        plan: all of its steps.
        status: makes the status cell.
    """
    statistics = {statistic.total for statistic in plan.statistics}
    written = dict.fromkeys(value.root for step in plan.steps for value in step.writes)
    shadows = {
        value: Value(value.name, *value.spec, Role.SHADOW)
        for value in written
        if value.role is Role.STATE or value in statistics
    }
    if not shadows:
        return
    _redirect(plan, shadows)
    copy = Call(Copy(len(shadows)), (*shadows, *shadows.values()), tuple(shadows.values()), "(net)")
    plan.steps.insert(0, forward_step(copy, Section.FORWARD if plan.sectioned else Section.CLEAR))
    targets = tuple(value for value in shadows if plan.phase is Phase.TRAIN or value in statistics)
    if targets:
        plan.cells[Cell.STATUS] = status()
        ins = plan.cells[Cell.STATUS], *(shadows[value] for value in targets), *targets
        commit = Call(Commit(len(targets)), ins, targets, "(net)")
        backward = (i for i, step in enumerate(plan.steps) if step.section is Section.BACKWARD)
        at = next(backward, len(plan.steps)) if plan.sectioned else len(plan.steps)
        plan.steps.insert(at, forward_step(commit, Section.FORWARD if plan.sectioned else Section.UPDATE))


def _redirect(plan: Plan, shadows: dict[Value, Value]) -> None:
    """Replace values by their shadows in all steps, and views of values by views of the shadows."""
    views: dict[Value, Value] = {}
    calls: dict[Call, Call] = {}

    def other(value: Value) -> Value:
        if value.root not in shadows:
            return value
        if value.base is None:
            return shadows[value]
        if value not in views:
            views[value] = replace(value, role=Role.SHADOW, base=other(value.base))
        return views[value]

    def of_step(step: Step) -> Step:
        call = step.call
        if call not in calls:
            calls[call] = replace(call, ins=tuple(map(other, call.ins)), outs=tuple(map(other, call.outs)))
        ins, outs = (tuple(None if v is None else other(v) for v in part) for part in (step.ins, step.outs))
        return replace(step, call=calls[call], ins=ins, outs=outs)

    plan.steps = [of_step(step) for step in plan.steps]
    plan.faults = {code: None if call is None else calls.get(call, call) for code, call in plan.faults.items()}
    plan.blobs = {name: other(value) for name, value in plan.blobs.items()}
