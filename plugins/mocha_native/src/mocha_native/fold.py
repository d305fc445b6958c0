"""Fusion of a backward half with the updates of its parameters. A gradient that no other step reads is never written;
the kernel updates the parameter tile by tile while the gradient is in registers.

It is for any update whose kernel is an `UpdateKernel`, and for any backward half whose kernel says `folds_updates`. An
update takes part if `fold_update` is registered as a fusion of its op.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from mocha_layers_std.rectified import MaskedBackward

from mocha_core.api import (
    Call,
    Graph,
    Half,
    Layouts,
    Op,
    Rewritten,
    Runnable,
    Selector,
    Spec,
    Step,
    forward_step,
    registries,
)
from mocha_native.compiled import Array, Buffers, NativeKernel
from mocha_native.update import UpdateKernel

if TYPE_CHECKING:
    from mocha_native.backend import NativeBackend


class UpdatingBackward(Op):
    """The backward half of another op, and updates of some of its inputs.

    Inputs: the output of the ReLU below if `masked`, the operands (*dy, *x, *y) that the half reads, then those of each
    update without its gradient. Outputs: the gradients that are `wanted`, then what each update writes.
    """

    name = "native.updating_backward"
    inner: Call
    masked: bool
    floor: float
    operands: tuple[int, ...]
    """The indices of the inputs in (*dy, *x, *y)."""
    wanted: tuple[int, ...]
    """The inputs of the other op whose gradients are written."""
    rules: tuple[tuple[int, Call], ...]
    """The inputs that are updated, each with its update."""

    @property
    def first(self) -> int:
        """The index of the first input that belongs to an update."""
        return self.masked + len(self.operands)

    @property
    def places(self) -> tuple[int, ...]:
        """The index of the first input of each update, and that of the end."""
        return tuple(accumulate((len(rule.ins) - 1 for _, rule in self.rules), initial=self.first))

    @property
    def updates(self) -> tuple[int, ...]:  # type: ignore[override]
        # The gradient, number 1 of the inputs of an update, is left out.
        written = zip(self.places, self.rules, strict=False)
        return tuple(at + i - (i > 1) for at, (_, rule) in written for i in rule.op.updates)

    def infer(self, *x: Spec) -> tuple[Spec, ...]:
        return tuple(self.inner.ins[i].spec for i in self.wanted)


def fold_update(graph: Graph, root: Step) -> Rewritten | None:
    """Joins an update and the backward step that writes its gradient, which may be fused already."""
    parameter, gradient, *operands = root.ins
    writer = graph.maker(gradient)
    op = None if writer is None else _as_updating(writer)
    if writer is None or op is None or gradient is None:
        return None
    written = [(out, added) for out, added in zip(writer.outs, writer.add, strict=True) if out is not None]
    place = [out for out, _ in written].index(gradient)
    index = op.wanted[place]
    if written.pop(place)[1] or op.inner.ins[index] is not parameter:
        return None
    wanted = tuple(i for i in op.wanted if i != index)
    op = replace(op, wanted=wanted, rules=(*op.rules, (index, root.call)))
    given = tuple(v for v in (*writer.ins, parameter, *operands) if v is not None)
    results = (*(out for out, _ in written), *root.writes)
    call = Call(op, given, results, op.inner.layer)
    add = (*(added for _, added in written), *root.add)
    return [writer, root], replace(forward_step(call, writer.section), add=add)


def _as_updating(step: Step) -> UpdatingBackward | None:
    """The step as an `UpdatingBackward`; None if it is no backward half, or that of a ReLU before others."""
    op = step.call.op
    if isinstance(op, UpdatingBackward):
        return op
    if isinstance(op, MaskedBackward) and not op.before:
        return UpdatingBackward(op.inner, True, op.floor, op.operands, op.wanted, ())
    if step.half is not Half.BACKWARD:
        return None
    there = tuple(i for i, value in enumerate(step.ins) if value is not None)
    wanted = tuple(i for i, out in enumerate(step.outs) if out is not None)
    return UpdatingBackward(step.call, False, 0.0, there, wanted, ())


class UpdatingBackwardKernel(NativeKernel):
    """Calls `inner`, the kernel of the backward half, and gives it those of the updates."""

    def __init__(self, backend: NativeBackend, call: Call, inner: NativeKernel, rules: Sequence[UpdateKernel]) -> None:
        super().__init__(backend, call)
        self.inner = inner
        self.rules = rules
        op, layouts = self.op, inner.layouts
        self.n_out, self.n_in = len(op.inner.outs), len(op.inner.ins)
        y = [layouts.of_out(i) for i in range(self.n_out)]
        operands = [*y, *(layouts.of_in(i, backward=True) for i in range(self.n_in)), *y]
        mask = (layouts.of_gradient(0),) if op.masked else ()
        self.layouts = Layouts(
            ins=(*mask, *(operands[i] for i in op.operands)), outs=tuple(layouts.of_gradient(i) for i in op.wanted)
        )
        self.forward_workspace = (*inner.backward_workspace, Spec((1,), "int32"))

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        op = self.op
        operands: list[Any] = [None] * (2 * self.n_out + self.n_in)
        for i, buffer in zip(op.operands, ins[op.masked :], strict=False):
            operands[i] = buffer
        gradients: list[Array | None] = [None] * self.n_in
        adds = [False] * self.n_in
        for i, buffer, added in zip(op.wanted, outs, add, strict=False):
            gradients[i], adds[i] = buffer, added
        *workspace, before = outs[len(op.wanted) + len(op.updates) :]
        updates = {}
        for at, end, (index, _), rule in zip(op.places, op.places[1:], op.rules, self.rules, strict=False):
            parameter, *others = ins[at:end]
            updates[index] = (parameter, rule.block([parameter, None, *others], before))
        mask = ins[0] if op.masked else None
        status = ins[op.places[-1] - 1]
        outs = [*gradients, *workspace]
        return self.inner.updating_backward(operands, outs, adds, mask, op.floor, updates, (status, before))

    @property
    def label(self) -> str:
        names = " and ".join(dict.fromkeys(rule.label for rule in self.rules))
        updated = "weight" if [i for i, _ in self.op.rules] == [1] else "parameters"
        return f"{self.inner.label}{' + ReLU' if self.op.masked else ''} + {names} of {updated}"


def updating_backward(backend: NativeBackend, call: Call) -> UpdatingBackwardKernel | None:
    """Declines if a kernel of an update cannot be called block by block, or that of the backward half calls none."""
    op = call.op
    assert isinstance(op, UpdatingBackward)
    selector = Selector(backend, registries())
    inner, chosen = selector.choose(op.inner), [selector.choose(rule) for _, rule in op.rules]
    rules = [kernel for kernel in chosen if isinstance(kernel, UpdateKernel)]
    if not isinstance(inner, NativeKernel) or not inner.folds_updates or inner.saves or len(rules) < len(chosen):
        return None
    return None if op.masked and not inner.masks_bottom else UpdatingBackwardKernel(backend, call, inner, rules)
