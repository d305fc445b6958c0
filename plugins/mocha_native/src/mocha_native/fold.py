"""Fusion of an inner product's backward half with the updates of its parameters. A gradient that no other step reads is
never written; the kernel updates the parameter tile by tile while the gradient is in registers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from mocha_layers_std.inner_product import InnerProduct as InnerProductOp
from mocha_layers_std.rectified import MaskedBackward

from mocha_core.api import (
    PLAIN,
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
from mocha_native.kernels.inner_product import InnerProduct
from mocha_native.kernels.sgd import SGD

if TYPE_CHECKING:
    from mocha_native.backend import NativeBackend

#: The number of inputs of an update besides the gradient: parameter, velocity, learning rate, momentum, status.
OPERANDS = 5


class UpdatingBackward(Op):
    """The backward half of an inner product, and updates of its weight or bias or both.

    Inputs: dy, x, w, the ReLU's output if `masked`, then those of each update. Outputs: the gradients that are
    `wanted`, then parameter, velocity and status of each update.
    """

    name = "native.updating_backward"
    inner: Call
    masked: bool
    floor: float
    wanted: tuple[int, ...]
    """The inputs of the inner product whose gradients are written."""
    rules: tuple[tuple[int, Call], ...]
    """The inputs that are updated, each with its update."""

    @property
    def first(self) -> int:
        """The index of the first input that belongs to an update."""
        return 3 + self.masked

    @property
    def updates(self) -> tuple[int, ...]:  # type: ignore[override]
        begins = (self.first + OPERANDS * i for i in range(len(self.rules)))
        return tuple(at + operand for at in begins for operand in (0, 1, 4))

    def infer(self, *x: Spec) -> tuple[Spec, ...]:
        return tuple(self.inner.ins[i].spec for i in self.wanted)


def fold_update(graph: Graph, root: Step) -> Rewritten | None:
    """Joins an update and the inner product's backward step that writes its gradient, which may be fused already."""
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
    ins = writer.ins
    if isinstance(writer.call.op, MaskedBackward):
        ins = (*ins[1:4], ins[0])
    elif writer.half is Half.BACKWARD:
        ins = ins[:3]
    wanted = tuple(i for i in op.wanted if i != index)
    op = replace(op, wanted=wanted, rules=(*op.rules, (index, root.call)))
    given = tuple(v for v in (*ins, parameter, *operands) if v is not None)
    results = (*(out for out, _ in written), *root.writes)
    call = Call(op, given, results, op.inner.layer)
    add = (*(added for _, added in written), *root.add)
    return [writer, root], replace(forward_step(call, writer.section), add=add)


def _as_updating(step: Step) -> UpdatingBackward | None:
    """The step as an `UpdatingBackward`; None if it is not the backward half of an inner product."""
    op = step.call.op
    if isinstance(op, UpdatingBackward):
        return op
    if isinstance(op, InnerProductOp) and step.half is Half.BACKWARD:
        wanted = tuple(i for i, out in enumerate(step.outs) if out is not None)
        return UpdatingBackward(step.call, False, 0.0, wanted, ())
    if isinstance(op, MaskedBackward) and isinstance(op.inner.op, InnerProductOp) and not op.before:
        return UpdatingBackward(op.inner, True, op.floor, op.wanted, ())
    return None


class UpdatingBackwardKernel(NativeKernel):
    """Calls the inner product's kernel."""

    def __init__(self, backend: NativeBackend, call: Call, inner: InnerProduct) -> None:
        super().__init__(backend, call)
        self.inner = inner
        op, layouts = self.op, inner.layouts
        dx = layouts.of_gradient(0)
        mask = (dx,) if op.masked else ()
        self.layouts = Layouts(
            ins=(layouts.of_out(0), PLAIN, PLAIN, *mask), outs=tuple(layouts.of_gradient(i) for i in op.wanted)
        )
        self.forward_workspace = (*inner.backward_workspace, Spec((1,), "int32"))

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        op = self.op
        gradients: list[Array | None] = [None] * 3
        adds = [False] * 3
        for i, buffer, added in zip(op.wanted, outs, add, strict=False):
            gradients[i], adds[i] = buffer, added
        updates = {}
        for number, (index, rule) in enumerate(op.rules):
            at = op.first + OPERANDS * number
            updates[index] = (rule.op, ins[at : at + OPERANDS])
        mask = ins[3] if op.masked else None
        return self.inner.parts(ins[:3], [*gradients, outs[-2]], adds, mask, op.floor, updates, outs[-1])

    @property
    def label(self) -> str:
        updated = "weight" if [i for i, _ in self.op.rules] == [1] else "parameters"
        return f"{self.inner.label}{' + ReLU' if self.op.masked else ''} + SGD of {updated}"


def updating_backward(backend: NativeBackend, call: Call) -> UpdatingBackwardKernel | None:
    """Declines if either kernel is not compiled, and for batches whose gradients are computed in several parts."""
    op = call.op
    assert isinstance(op, UpdatingBackward)
    selector = Selector(backend, registries())
    inner = selector.choose(op.inner)
    whole = call.ins[0].shape[0] <= backend.isa.constants["inner_product_rows"]
    if not isinstance(inner, InnerProduct) or not whole or (op.masked and not inner.masks_bottom):
        return None
    able = all(isinstance(selector.choose(rule), SGD) for _, rule in op.rules)
    return UpdatingBackwardKernel(backend, call, inner) if able else None
