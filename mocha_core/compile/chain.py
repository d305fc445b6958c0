"""Chains: element-wise steps as one with the step before them. What only they read is never written, or overwritten
while it is in the cache."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from mocha_core.compile.fusion import Rewritten
from mocha_core.compile.step_graph import Graph
from mocha_core.graph.array_api import Array, Namespace
from mocha_core.graph.op import Op
from mocha_core.graph.plan import Call, Half, Step, forward_step
from mocha_core.graph.value import Spec, Value


class Chain(Op):
    """Steps, one after the other. All but the first are element-wise.

    Inputs: `ins`, which the steps read and none of them writes. Outputs: `results`, those of what they write that are
    read elsewhere.
    """

    name = "mocha.chain"
    steps: tuple[Step, ...]
    ins: tuple[Value, ...]
    results: tuple[Value, ...]

    def infer(self, *_: Spec) -> tuple[Spec, ...]:
        return tuple(value.spec for value in self.results)

    def forward(self, xp: Namespace, *x: Array) -> tuple[Array, ...]:
        arrays: dict[Value | None, Any] = {None: None, **dict(zip(self.ins, x, strict=True))}
        for step in self.steps:
            op, ins = step.call.op, [arrays[value] for value in step.ins]
            if step.half is Half.FORWARD:
                found = op.forward(xp, *ins)
                results = found if isinstance(found, tuple) else (found,)
            else:
                y = len(step.call.outs)
                x_end = y + len(step.call.ins)
                wanted = [value is not None for value in step.outs]
                results = tuple(op.backward(xp, ins[:y], ins[y:x_end], ins[x_end:], wanted))
            for value, array in zip(step.outs, results, strict=True):
                if value is not None:
                    arrays[value] = xp.zeros(value.shape, value.dtype) if array is None else array
        return tuple(arrays[value] for value in self.results)

    @property
    def title(self) -> str:
        return " + ".join(step.call.op.title for step in self.steps)


def chain(steps: Iterable[Step], results: Iterable[Value]) -> Chain:
    """A chain with these results. Blobs come first in its inputs: a kernel may follow the layout of the first one."""
    steps = tuple(steps)
    made = {value for step in steps for value in step.writes}
    ins = dict.fromkeys(value for step in steps for value in step.ins if value is not None and value not in made)
    return Chain(steps, tuple(sorted(ins, key=lambda value: value.spec.size == 1)), tuple(results))


def join_element_wise(graph: Graph, root: Step) -> Rewritten | None:
    """Joins an element-wise step and the last one that writes what it reads, of whatever kind.

    A chain whose first step is not element-wise is for kernels that take an epilogue; where there is none, the kernel
    of `mocha.chain` declines.
    """
    if not _same_shapes(root):
        return None
    for value in dict.fromkeys(root.ins):
        writers = [] if value is None or value.spec.size == 1 else graph.writers(value)
        if writers and graph.label(writers[-1]) < graph.label(root):
            rewritten = _joined(graph, writers[-1], root)
            if rewritten is not None and not graph.reason_against(*rewritten):
                return rewritten
    return None


def _same_shapes(step: Step) -> bool:
    """Whether all that it reads and writes are blobs of one shape and dtype, and numbers.

    Whether it is element-wise, too, shows when a kernel of the chain is looked for.
    """
    op, outs = step.call.op, step.writes
    if op.updates or not (op.has_reference if step.half is Half.FORWARD else op.has_backward) or not outs:
        return False
    spec = outs[0].spec
    if spec.size == 1 or any(value.spec != spec or not value.transient for value in outs):
        return False
    return all(v is None or v.spec.size == 1 or (v.spec == spec and v.transient) for v in step.ins)


def _joined(graph: Graph, first: Step, second: Step) -> Rewritten | None:
    """Both steps as one; None if the second changes what the first writes, or reads a view of it, or if one of them
    writes a value twice, as x * x does with the gradient of x."""
    written = {value.root: added for value, added in _outputs(first)}
    if len(written) < len(first.writes) or len({*second.writes}) < len(second.writes):
        return None
    read = [value for value in second.ins if value is not None and value.root in written]
    if any(value not in first.outs for value in read) or any(value.root in written for value in second.writes):
        return None
    # A program adds to its outputs at its end; only what the step before it adds to is a sum when the program reads it.
    producer = _steps(first)[0]
    sums = [] if _same_shapes(producer) else producer.writes
    if any(written[value.root] and value not in sums for value in read):
        return None
    if not _same_shapes(first) and all(second.add):
        # The first step needs memory for its output, which the second overwrites if nothing else reads it.
        return None
    kept = [(value, added) for value, added in _outputs(first) if not graph.private(value, first, second)]
    outs = dict([*kept, *_outputs(second)])
    steps = [one for step in (first, second) for one in _steps(step)]
    op = chain(steps, outs)
    call = Call(op, op.ins, op.results, first.call.layer)
    return [first, second], replace(forward_step(call, first.section), add=tuple(outs.values()))


def _outputs(step: Step) -> list[tuple[Value, bool]]:
    """What a step writes, and whether it adds to it."""
    return [(value, added) for value, added in zip(step.outs, step.add, strict=True) if value is not None]


def _steps(step: Step) -> tuple[Step, ...]:
    return step.call.op.steps if isinstance(step.call.op, Chain) else (step,)
