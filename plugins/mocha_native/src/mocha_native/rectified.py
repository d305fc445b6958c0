"""Fusions with ReLU: forward, as the last thing another kernel does; backward, as a mask on what another one writes or
reads.

A kernel takes part by what it says of itself (`rectifies`, `masks_bottom`, `masks_top`); the rewrites and the ops are
the same for all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mocha_layers_std.neurons.relu import ReLUOp

from mocha_core.fusion import Graph, Rewritten
from mocha_core.kernel import Runnable
from mocha_core.layout import Layouts
from mocha_core.op import Op
from mocha_core.plan import Call, Half, Step, forward_step
from mocha_core.plugins import registries
from mocha_core.selection import Selector
from mocha_core.value import Spec, Value
from mocha_native.compiled import Buffers, NativeKernel

if TYPE_CHECKING:
    from mocha_native.backend import NativeBackend


class ThenReLU(Op):
    """Another op, and a ReLU of its first output."""

    name = "native.then_relu"
    inner: Call
    floor: float

    @property
    def saved(self) -> int:  # type: ignore[override]
        return self.inner.op.saved

    def infer(self, *x: Spec) -> tuple[Spec, ...]:
        return self.inner.op.infer(*x)


class MaskedBackward(Op):
    """The backward half of another op, with a ReLU's before it (of what made its `dy`) or after it (of its bottom).

    Inputs: the ReLU's output, then those operands (*dy, *x, *y) of the half that are there. Outputs: the gradients
    that are wanted.
    """

    name = "native.masked_backward"
    inner: Call
    floor: float
    before: bool
    operands: tuple[int, ...]
    """Which of (*dy, *x, *y) the inputs are."""
    wanted: tuple[int, ...]
    """Of which inputs of the other op the outputs are gradients."""

    def infer(self, *x: Spec) -> tuple[Spec, ...]:
        return tuple(self.inner.ins[i].spec for i in self.wanted)


def rectify(graph: Graph, root: Step) -> Rewritten | None:
    """A forward step and the ReLU of its first output."""
    readers = graph.readers(root.outs[0]) if root.outs and root.outs[0] is not None else []
    if len(readers) != 1 or readers[0].key != (ReLUOp.name, Half.FORWARD):
        return None
    relu = readers[0].call
    op = ThenReLU(root.call, relu.op.epsilon)  # type: ignore[attr-defined]
    call = Call(op, root.call.ins, (relu.outs[0], *root.call.outs[1:]), root.call.layer)
    return [root, readers[0]], forward_step(call, root.section)


def mask_bottom(graph: Graph, root: Step) -> Rewritten | None:
    """A ReLU's backward step, and the one that wrote the gradient it reads."""
    writer = graph.maker(root.ins[0])
    if writer is None or writer.half is not Half.BACKWARD or writer.outs[0] is not root.ins[0] or writer.add[0]:
        return None
    outs = (root.outs[0], *writer.outs[1:])
    return [writer, root], _masked(writer, root, writer.ins, outs, (root.add[0], *writer.add[1:]), before=False)


def mask_top(graph: Graph, root: Step) -> Rewritten | None:
    """A backward step, and the ReLU's that wrote the gradient it reads."""
    relu = graph.maker(root.ins[0])
    if relu is None or relu.key != (ReLUOp.name, Half.BACKWARD) or relu.add[0]:
        return None
    return [relu, root], _masked(root, relu, (relu.ins[0], *root.ins[1:]), root.outs, root.add, before=True)


def _masked(
    step: Step,
    relu: Step,
    operands: Sequence[Value | None],
    gradients: Sequence[Value | None],
    add: Sequence[bool],
    before: bool,
) -> Step:
    there = tuple(i for i, value in enumerate(operands) if value is not None)
    wanted = tuple(i for i, value in enumerate(gradients) if value is not None)
    floor = relu.call.op.epsilon  # type: ignore[attr-defined]
    ins = tuple(v for v in (relu.ins[2], *operands) if v is not None)
    outs = tuple(v for v in gradients if v is not None)
    call = Call(MaskedBackward(step.call, floor, before, there, wanted), ins, outs, step.call.layer)
    return replace(forward_step(call, step.section), add=tuple(add[i] for i in wanted))


class ThenReLUKernel(NativeKernel):
    """Leaves it to the other op's kernel."""

    def __init__(self, backend: NativeBackend, call: Call, inner: NativeKernel) -> None:
        super().__init__(backend, call)
        self.inner = inner
        self.layouts = inner.layouts
        self.forward_workspace = inner.forward_workspace

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        return self.inner.rectified(ins, outs, add, self.op.floor)

    @property
    def label(self) -> str:
        return f"{self.inner.label} + ReLU"


class MaskedBackwardKernel(NativeKernel):
    """Leaves it to the other op's kernel."""

    def __init__(self, backend: NativeBackend, call: Call, inner: NativeKernel) -> None:
        super().__init__(backend, call)
        self.inner = inner
        self.forward_workspace = inner.backward_workspace
        op, layouts, other = self.op, inner.layouts, self.op.inner
        self.n_out, self.n_in = len(other.outs), len(other.ins)
        y = [layouts.of_out(i) for i in range(self.n_out)]
        operands = [*y, *(layouts.of_in(i, backward=True) for i in range(self.n_in)), *y]
        mask = layouts.of_out(0) if op.before else layouts.of_gradient(0)
        self.layouts = Layouts(
            ins=(mask, *(operands[i] for i in op.operands)), outs=tuple(layouts.of_gradient(i) for i in op.wanted)
        )

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        op = self.op
        operands: list[Any] = [None] * (2 * self.n_out + self.n_in)
        gradients: list[Any] = [None] * self.n_in
        adds = [False] * self.n_in
        for i, buffer in zip(op.operands, ins[1:], strict=True):
            operands[i] = buffer
        for i, buffer, added in zip(op.wanted, outs, add, strict=False):
            gradients[i], adds[i] = buffer, added
        workspace = outs[len(op.wanted) :]
        masked = self.inner.top_masked if op.before else self.inner.bottom_masked
        return masked(operands, [*gradients, *workspace], adds, ins[0], op.floor)

    @property
    def label(self) -> str:
        return f"ReLU + {self.inner.label}" if self.op.before else f"{self.inner.label} + ReLU"


def then_relu(backend: NativeBackend, call: Call) -> ThenReLUKernel | None:
    """Declines where the other op's kernel does not rectify."""
    op: Any = call.op
    inner = Selector(backend, registries()).choose(op.inner)
    able = isinstance(inner, NativeKernel) and inner.rectifies and not inner.saves
    return ThenReLUKernel(backend, call, inner) if able else None  # type: ignore[arg-type]


def masked_backward(backend: NativeBackend, call: Call) -> MaskedBackwardKernel | None:
    """Declines where the other op's kernel does not mask there."""
    op: Any = call.op
    inner = Selector(backend, registries()).choose(op.inner)
    if not isinstance(inner, NativeKernel) or inner.saves:
        return None
    able = inner.masks_top if op.before else inner.masks_bottom
    return MaskedBackwardKernel(backend, call, inner) if able else None
