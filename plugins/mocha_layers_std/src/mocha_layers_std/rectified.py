"""Fusions with ReLU. In forward another kernel rectifies its output; in backward another kernel masks a gradient that
it writes or reads.

They are the same for every backend. To use them, a backend registers `then_relu` and `masked_backward` as the kernels
of the ops that they make. Its kernels inherit `RectifiedKernel`, and their attributes say which fusions they support.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mocha_core.api import (
    Buffers,
    Call,
    Graph,
    Half,
    Kernel,
    Layouts,
    Op,
    Rewritten,
    Runnable,
    Selector,
    Spec,
    Step,
    Value,
    forward_step,
    registries,
)
from mocha_layers_std.neurons.relu import ReLUOp

if TYPE_CHECKING:
    from mocha_core.api import Backend


class ThenReLU(Op):
    """Another op, and then a ReLU of its first output."""

    name = "then_relu"
    inner: Call
    floor: float

    @property
    def saved(self) -> int:  # type: ignore[override]
        return self.inner.op.saved

    def infer(self, *x: Spec) -> tuple[Spec, ...]:
        return self.inner.op.infer(*x)


class MaskedBackward(Op):
    """The backward half of another op, and of a ReLU that follows the op (masks `dy`) or precedes it (masks dx).

    Inputs: the ReLU's output, then the operands (*dy, *x, *y) that the half reads. Outputs: the gradients that are
    wanted.
    """

    name = "masked_backward"
    inner: Call
    floor: float
    before: bool
    operands: tuple[int, ...]
    """The indices of the inputs in (*dy, *x, *y)."""
    wanted: tuple[int, ...]
    """The inputs of the other op whose gradients are the outputs."""

    def infer(self, *x: Spec) -> tuple[Spec, ...]:
        return tuple(self.inner.ins[i].spec for i in self.wanted)


def rectify(graph: Graph, root: Step) -> Rewritten | None:
    """Joins a forward step and the ReLU of its first output."""
    readers = graph.readers(root.outs[0]) if root.outs and root.outs[0] is not None else []
    if len(readers) != 1 or readers[0].key != (ReLUOp.name, Half.FORWARD):
        return None
    relu = readers[0].call
    op = ThenReLU(root.call, relu.op.epsilon)  # type: ignore[attr-defined]
    call = Call(op, root.call.ins, (relu.outs[0], *root.call.outs[1:]), root.call.layer)
    return [root, readers[0]], forward_step(call, root.section)


def mask_bottom(graph: Graph, root: Step) -> Rewritten | None:
    """Joins a ReLU's backward step and the step that writes its gradient."""
    writer = graph.maker(root.ins[0])
    if writer is None or writer.half is not Half.BACKWARD or writer.outs[0] is not root.ins[0] or writer.add[0]:
        return None
    outs = (root.outs[0], *writer.outs[1:])
    return [writer, root], _masked(writer, root, writer.ins, outs, (root.add[0], *writer.add[1:]), before=False)


def mask_top(graph: Graph, root: Step) -> Rewritten | None:
    """Joins a backward step and the ReLU's step that writes its gradient."""
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


class RectifiedKernel(Kernel):
    """A kernel that may also compute a ReLU. Kernels that save arrays from forward to backward may not."""

    #: Whether `rectified` binds forward with a ReLU of the first output.
    rectifies: bool = False
    #: Whether `bottom_masked` binds backward together with that of the ReLU that makes the first input.
    masks_bottom: bool = False
    #: Whether `top_masked` binds backward together with that of the ReLU that follows the first output.
    masks_top: bool = False

    def rectified(self, ins: Buffers, outs: Buffers, add: Sequence[bool], floor: float) -> Runnable:
        """As `forward`, followed by y = max(floor, y)."""
        raise NotImplementedError(f"{type(self).__name__} does not rectify")

    def bottom_masked(self, ins: Buffers, outs: Buffers, add: Sequence[bool], mask: Any, floor: float) -> Runnable:
        """As `backward`, but dx counts only where `mask`, which is x, is above the floor; else it is 0."""
        raise NotImplementedError(f"{type(self).__name__} does not mask its bottom")

    def top_masked(self, ins: Buffers, outs: Buffers, add: Sequence[bool], mask: Any, floor: float) -> Runnable:
        """As `backward`, but dy counts only where `mask`, which is ReLU's output, is above the floor; else it is 0."""
        raise NotImplementedError(f"{type(self).__name__} does not mask its top")


class WithReLU(Kernel):
    """Calls `inner`, the other op's kernel."""

    def __init__(self, inner: RectifiedKernel) -> None:
        self.inner = inner
        self.captured = inner.captured


class ThenReLUKernel(WithReLU):
    """Forward."""

    def __init__(self, op: ThenReLU, inner: RectifiedKernel) -> None:
        super().__init__(inner)
        self.op = op
        self.layouts = inner.layouts
        self.forward_workspace = inner.forward_workspace

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        return self.inner.rectified(ins, outs, add, self.op.floor)

    @property
    def label(self) -> str:
        return f"{self.inner.label} + ReLU"


class MaskedBackwardKernel(WithReLU):
    """Backward."""

    def __init__(self, op: MaskedBackward, inner: RectifiedKernel) -> None:
        super().__init__(inner)
        self.op = op
        self.forward_workspace = inner.backward_workspace
        layouts, other = inner.layouts, op.inner
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


def then_relu(backend: Backend, call: Call) -> ThenReLUKernel | None:
    """Declines if the other op's kernel does not rectify."""
    op = call.op
    assert isinstance(op, ThenReLU)
    inner = _kernel(backend, op.inner)
    return ThenReLUKernel(op, inner) if inner and inner.rectifies else None


def masked_backward(backend: Backend, call: Call) -> MaskedBackwardKernel | None:
    """Declines if the other op's kernel does not mask this gradient."""
    op = call.op
    assert isinstance(op, MaskedBackward)
    inner = _kernel(backend, op.inner)
    return MaskedBackwardKernel(op, inner) if inner and (inner.masks_top if op.before else inner.masks_bottom) else None


def _kernel(backend: Backend, call: Call) -> RectifiedKernel | None:
    """The kernel that would serve a call alone, if it may also compute a ReLU."""
    kernel = Selector(backend, registries()).choose(call)
    return kernel if isinstance(kernel, RectifiedKernel) and not kernel.saves else None
