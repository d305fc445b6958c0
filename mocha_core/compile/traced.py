"""`TracedKernel`: the base class of kernels that run any op's reference as a `VectorProgram`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from mocha_core.compile.chain import Chain
from mocha_core.compile.kernel import Buffers, Kernel, Reference, Runnable
from mocha_core.compile.selection import Selector
from mocha_core.compile.trace import trace_backward, trace_forward
from mocha_core.compile.vector_program import Untraceable, VectorProgram
from mocha_core.graph.plan import Call
from mocha_core.graph.value import Role, Spec

if TYPE_CHECKING:
    from collections.abc import Callable

    from mocha_core.compile.device import Device

Made = TypeVar("Made", bound="TracedKernel")


class TracedKernel(Kernel):
    """Traces each half once. A half that cannot be traced is run by the reference.

    Attributes:
        stopped: why a half cannot be traced, by its name.
        wanted: which gradients may be wanted.
    """

    def __init__(self, backend: Device, call: Call) -> None:
        self.backend = backend
        self.call = call
        self.reference = Reference(backend, call)
        self.stopped: dict[str, str] = {}
        self._programs: dict[tuple[bool, ...], VectorProgram] = {}
        op, able = call.op, call.op.differentiable
        self.wanted = [
            v.dtype in ("float32", "float64") and (able is None or i in able) for i, v in enumerate(call.ins)
        ]
        try:
            self._forward = trace_forward(call, [True] * len(call.outs))
            self.forward_workspace = self.prepare("forward", self._forward)
        except Untraceable as why:
            self.stopped["forward"] = str(why)
        if op.has_backward and any(self.wanted):
            try:
                self.backward_workspace = self.prepare("backward", self._of(self.given))
            except Untraceable as why:
                self.stopped["backward"] = str(why)

    def prepare(self, half: str, program: VectorProgram) -> tuple[Spec, ...]:
        """The workspace of a half.

        Raises:
            Untraceable: the backend cannot run the program.
        """
        raise NotImplementedError(f"{type(self).__name__} prepares no program")

    def bound(
        self, half: str, program: VectorProgram, ins: Buffers, outs: Buffers, add: Sequence[bool], workspace: Buffers
    ) -> Runnable:
        """A program bound to operands; None stands for an output that is not wanted."""
        raise NotImplementedError(f"{type(self).__name__} runs no program")

    @property
    def given(self) -> tuple[bool, ...]:
        """Which of the inputs of backward (*dy, *x, *y) there may be."""
        call, op = self.call, self.call.op
        dy = (v.dtype.startswith("float") and i < len(call.outs) - op.saved for i, v in enumerate(call.outs))
        x = (op.reads("x", i) for i in range(len(call.ins)))
        y = (op.reads("y", i) for i in range(len(call.outs)))
        return (*dy, *x, *y)

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        if "forward" in self.stopped:
            return self.reference.forward(ins, outs, add)
        n = len(self.call.outs)
        program = self._forward.only([out is not None for out in outs[:n]])
        return self.bound("forward", program, ins, outs[:n], add, outs[n:])

    def backward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        if "backward" in self.stopped:
            return self.reference.backward(ins, outs, add)
        n = len(self.call.ins)
        program = self._of(tuple(x is not None for x in ins)).only([out is not None for out in outs[:n]])
        return self.bound("backward", program, ins, outs[:n], add, outs[n:])

    def _of(self, given: tuple[bool, ...]) -> VectorProgram:
        """The program of backward for all gradients, of the operands that are there."""
        if given not in self._programs:
            self._programs[given] = trace_backward(self.call, given, self.wanted)
        return self._programs[given]

    @property
    def element_wise(self) -> bool:
        """Whether forward makes each element from those at the same place."""
        return "forward" not in self.stopped and not self._forward.columns

    @property
    def follows(self) -> bool:
        """Whether it computes alike in any layout: element by element, on blobs of one shape and nothing else of it.

        Layouts may have padding, where gradients are zero and stay so. Thus a backward half has to give zero where the
        gradients that it takes are.
        """
        values = [*self.call.ins, *self.call.outs]
        blobs = {v.shape for v in values if v.transient and v.shape}
        if self.stopped or len(blobs) > 1 or not all(v.transient for v in values if v.shape in blobs):
            return False
        # Forward of a chain has gradients, too.
        ins, outs = (
            [i for i, value in enumerate(of) if value.root.role is Role.GRADIENT]
            for of in (self.call.ins, self.call.outs)
        )
        halves = [(self._forward, ins, outs)]
        if self.call.op.has_backward and any(self.wanted):
            halves.append((self._of(self.given), [*range(len(self.call.outs))], [*range(len(self.call.ins))]))
        alike = (not program.columns and program.vanishes(zeros, results) for program, zeros, results in halves)
        return len(blobs) == 1 and all(alike)

    @property
    def label(self) -> str:
        why = "".join(f", {half} by reference: {reason}" for half, reason in self.stopped.items())
        return f"traced {self.call.op.title}{why}"


def traced(kernel: Callable[[Any, Call], Made], backend: Any, call: Call) -> Made | None:
    """The kernel of an op. Declines an op without a reference, and chains, which are for `traced_chain`.

    Raises:
        Untraceable: no half can be traced.
    """
    if not call.ins or not call.op.has_reference or isinstance(call.op, Chain):
        return None
    made = kernel(backend, call)
    if "forward" in made.stopped and (len(made.stopped) == 2 or not call.op.has_backward or not any(made.wanted)):
        raise Untraceable(made.stopped["forward"])
    return made


def traced_chain(kernel: Callable[[Any, Call], Made], backend: Any, call: Call) -> Made | None:
    """The kernel of a `Chain` of element-wise steps, each of which would be traced alone, too. Declines others."""
    from mocha_core.plugin.manager import registries

    assert isinstance(call.op, Chain)
    selector = Selector(backend, registries())
    if not all(isinstance(selector.choose(step.call, False), TracedKernel) for step in call.op.steps):
        return None
    made = kernel(backend, call)
    return made if made.element_wise else None
