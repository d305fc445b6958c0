"""Finds the origin of numbers that are not finite: runs the minibatch again, unfused, and keeps all values."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mocha_core.errors import NonFiniteError
from mocha_core.graph.array_api import Array, Namespace
from mocha_core.graph.commit import Copy
from mocha_core.graph.op import Op
from mocha_core.graph.plan import Call, Half, Plan, Section, Step, forward_step
from mocha_core.graph.value import Role, Spec, Value
from mocha_core.host.interrupt import Stopped
from mocha_core.net.net import Net
from mocha_core.train.update import UpdateOp

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mocha_core.compile.program import Program
    from mocha_core.net.feed import Feed
    from mocha_core.net.trainer import Trainer

_WAY_OUT = "Lower the learning rate, or look for large values in the data."


def non_finite(solver: Trainer, net: Net, program: Program, call: Call) -> NonFiniteError:
    """The error that names what made the numbers not finite that `call`, of a training program, has refused.

    Parameters, states, statistics and cursors are restored; gradients are not.
    """
    updated = [call.ins[0]] if isinstance(call.op, UpdateOp) else []
    seen = f"the update of parameter '{updated[0].name}'" if updated else "the objective"
    finite = f"Its gradient is finite, so the step was too large. {_WAY_OUT}" if updated else ""
    states = {shadow: state for state, shadow in shadowed(program.plan.steps)}
    if call.ins[0] in states:
        updated = [states[call.ins[0]]]
        seen, finite = f"the new contents of state '{updated[0].name}'", ""
    elif not updated and call.ins[0] is not program.plan.objective:
        updated = [p.value for g in net.parameters.values() for p in g.values() if p.value in program.plan.gradients]
        seen = "the norm of the gradients"
        finite = f"Each gradient is finite, but the sum of their squares is too large. {_WAY_OUT}"
    try:
        with np.errstate(all="ignore"):
            cause = (
                set_from_outside(solver, net)
                or origin_in_minibatch(net, program, solver.state.iteration, updated)
                or finite
            )
            if not cause:
                cause = f"The same minibatch, run again, gave finite numbers: some kernel is not pure. {_WAY_OUT}"
    except (Exception, Stopped) as error:
        cause = f"The cause is unknown, because the minibatch could not be run again ({error}). {_WAY_OUT}"
    return NonFiniteError(f"{net.runs.label}: {seen} is not finite in iteration {solver.state.iteration}. {cause}")


def set_from_outside(solver: Trainer, net: Net) -> str:
    """The parameter or slot that is not finite although nothing was written that is not; empty if there is none."""
    parameters = [p for group in net.parameters.values() for p in group.values()]
    held = [(f"Layer '{p.layer}': parameter '{p.name}'", p.value) for p in parameters]
    held += [(f"The solver's '{key}'", value) for key, value in solver.memories(net).items()]
    for what, value in held:
        if (bad := first_non_finite(net.system.read(value))) is not None:
            return f"{what} holds {bad}, which was set from outside. Load a snapshot, or set it again."
    return ""


def origin_in_minibatch(net: Net, program: Program, iteration: int, updated: Sequence[Value]) -> str:
    """Name what made the objective not finite, or else the gradients of the parameters or the states `updated`.

    Empty if all is finite now.
    """
    with net.system.compiling():
        plan = plan_of_single_writers(net)
        again = net.system.backend.compile(plan, net.system.storage)
    assert plan.objective is not None
    made = {value: gradient.root for value, gradient in plan.gradients.items()} | dict(shadowed(plan.steps))
    targets = [made[value] for value in updated] or [plan.objective]
    k = program.plan.minibatches
    schedule = net.runs.schedule(program, k, iteration)
    held = {s.value for s in net.states.values() if first_non_finite(net.system.read(s.value)) is not None}
    fresh = {shadow for state, shadow in shadowed(plan.steps) if state not in held}
    with net.system.storage.gate.exclusive(), restored(net, plan):
        for j in range(k):
            net.feeds.begin(wrap=True)
            again.run(Section.FORWARD, {name: column[j:] for name, column in schedule.items()})
            again.run(Section.BACKWARD)
            bad = {v.root for v in values(plan.steps) if first_non_finite(again.read(v.root)) is not None}
            for target in [target for target in targets if target in bad]:
                step = first_bad(plan.steps, bad, target, fresh)
                return describe_state(net, held) if step is None else describe(net, again, bad, step)
            net.feeds.advance(1)
    return ""


def shadowed(steps: Sequence[Step]) -> list[tuple[Value, Value]]:
    """Each state or statistic that steps update, and its shadow."""
    calls = [step.call for step in steps if isinstance(step.call.op, Copy)]
    return [pair for call in calls for pair in zip(call.ins, call.outs)]


def plan_of_single_writers(net: Net) -> Plan:
    """Forward and backward with every value kept, in which steps that add to one gradient write separate values."""
    plan = net.runs.plan_of(net.runs.stepwise())
    plan.fuse = False
    writers = Counter(v.root for step in plan.steps if step.half is Half.BACKWARD for v in step.writes)
    parts: dict[Value, list[Value]] = defaultdict(list)
    steps = []
    for step in plan.steps:
        outs = list(step.outs)
        for i, out in enumerate(step.outs):
            if out is not None and writers[out.root] > 1:
                outs[i] = part = Value(out.name, out.shape, out.dtype, Role.GRADIENT)
                parts[out.root].append(part)
        steps.append(replace(step, outs=tuple(outs), add=(False,) * len(outs)))
        for total in [total for total in parts if len(parts[total]) == writers[total]]:
            call = Call(Total(total.shape), tuple(parts.pop(total)), (total,), step.call.layer)
            steps.append(forward_step(call, Section.BACKWARD))
    plan.steps = steps
    for value in values(steps):
        value.root.keep = value.root.keep or value.transient
    return plan


class Total(Op):
    """The sum of the contributions of several steps to one gradient."""

    name = "mocha.total"
    differentiable = ()
    shape: tuple[int, ...]

    def infer(self, *x: Spec) -> tuple[Spec, ...]:
        return (Spec(self.shape, x[0].dtype),)

    def forward(self, xp: Namespace, *x: Array) -> Array:
        return sum(xp.reshape(part, self.shape) for part in x)


@contextmanager
def restored(net: Net, plan: Plan) -> Iterator[None]:
    """At the end of the `with`, restore the cursors, and the states and cells that the plan's steps read or write."""
    lasting = [v.root for v in values(plan.steps) if v.root.role in (Role.STATE, Role.CELL)]
    contents = {value: net.system.read(value) for value in lasting}
    try:
        with net.feeds.restored():
            yield
    finally:
        for value, array in contents.items():
            net.system.write(value, array)


def first_bad(steps: Sequence[Step], bad: set[Value], target: Value, fresh: set[Value]) -> Step | None:
    """The first step that made bad values from good ones, among the steps that `target` depends on.

    A value in `fresh` was good before a step overwrote it.
    """
    first, spoiled = None, {target}
    for step in reversed(steps):
        if spoiled & {v.root for v in step.writes} and not isinstance(step.call.op, Copy):
            inputs = ({v.root for v in step.reads} & bad) - ({v.root for v in step.writes} & fresh)
            spoiled |= inputs
            first = first if inputs else step
    return first


def describe_state(net: Net, held: set[Value]) -> str:
    """A sentence that names the state that was not finite before the minibatch."""
    states = [s for s in net.states.values() if s.value in held]
    return "".join(f"Layer '{s.layer}': state '{s.name}' is not finite. Load a snapshot." for s in states[:1])


def describe(net: Net, program: Program, bad: set[Value], step: Step) -> str:
    """A sentence that names the step that made bad values from good ones."""
    layer = step.call.layer
    names = {v.root: f"blob '{name}'" for name, v in reversed(program.plan.blobs.items())}
    names |= {s.value: f"{type(s).__name__.lower()} '{s.name}'" for s in net.states.values()}
    names |= {shadow: names[state] for state, shadow in shadowed(program.plan.steps) if state in names}
    made = [*enumerate(step.outs), *((0, v) for v in step.writes)]
    spoilt = [(i, v) for i, v in made if v is not None and v.root in bad]
    i, value = next((pair for pair in spoilt if pair[1].root in names), spoilt[0])
    if layer in net.feeds and step.half is Half.FORWARD:
        what = names.get(value, f"'{value.name}'")
        return f"Layer '{layer}': {what}, {first_non_finite_row(net.feeds[layer], program.read(value))}"
    of, gradient, half = value.root, "", "forward"
    if step.section is Section.BACKWARD:
        gradient, half = "the gradient of ", "backward"
        sources = {made.root: source for source, made in program.plan.gradients.items()}
        of = sources[of] if isinstance(step.call.op, Total) else step.call.ins[i].root
    what = names.get(of, f"'{of.name}'")
    inputs = (program.read(v) for v in step.reads if v.root.role is not Role.CELL and v.root not in bad)
    largest = max((float(np.abs(array).max(initial=0)) for array in inputs), default=0.0)
    return (
        f"Layer '{layer}' made {gradient}{what} not finite in {half}, from finite inputs (the largest is "
        f"{largest:.3g}). {_WAY_OUT}"
    )


def first_non_finite_row(feed: Feed, minibatch: NDArray[Any]) -> str:
    """A phrase that names the first row, of the minibatch at the feed's cursor, that is not finite."""
    at = int(np.argwhere(~np.isfinite(minibatch))[0][0])
    row = int(feed.rows_from(feed.cursor, len(minibatch))[at])
    return f"row {row} of its source, holds {first_non_finite(minibatch)}. Check the data."


def values(steps: Sequence[Step]) -> list[Value]:
    """All values that steps read or write, each once, except whole data sets."""
    found = dict.fromkeys(v for step in steps for v in (*step.reads, *step.writes))
    return [value for value in found if value.root.role is not Role.DATA]


def first_non_finite(array: NDArray[Any]) -> float | None:
    """The first number that is not finite; None if all are."""
    odd = array[~np.isfinite(array)]
    return float(odd[0]) if odd.size else None
