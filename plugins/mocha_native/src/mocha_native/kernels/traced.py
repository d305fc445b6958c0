"""The kernel of any op without one of its own: the op's reference, traced, and run in C."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from mocha_core.api import Layouts, Reference, Runnable, Spec, Untraceable, VectorProgram, trace_backward, trace_forward
from mocha_native.compiled import Array, Buffers, Compiled, NativeKernel, Series
from mocha_native.encode import Code, encode

if TYPE_CHECKING:
    from mocha_core.api import Call
    from mocha_native.backend import NativeBackend


class Interpreted(Compiled):
    """A program bound to arrays, which it keeps alive: C has only their addresses."""

    def __init__(self, backend: NativeBackend, dtype: str, code: Code, elements: int, operands: Buffers) -> None:
        buffers: list[Array | None] = [code.instructions, code.constants, code.operands]
        super().__init__(backend, f"vector_program_{dtype}", buffers, [0, elements, *code.sizes])
        self.operands = operands


class Traced(NativeKernel):
    """Runs the halves that can be traced in C; in Python, the reference runs the other one.

    Attributes:
        stopped: why a half cannot be traced, by its name.
    """

    in_chains = True

    def __init__(self, backend: NativeBackend, call: Call) -> None:
        super().__init__(backend, call)
        self.reference = Reference(backend, call)
        self.stopped: dict[str, str] = {}
        #: An int64 for each number that forward both reads and changes.
        changed = sum(call.ins[i].spec.size == 1 for i in call.op.updates)
        copies = (Spec((changed,), "int64"),) if changed else ()
        #: Gradients that may be wanted.
        able = call.op.differentiable
        self.wanted = [
            v.dtype in ("float32", "float64") and (able is None or i in able) for i, v in enumerate(call.ins)
        ]
        self.attempt("forward", lambda: self.try_forward(copies))
        if call.op.has_backward and any(self.wanted):
            self.attempt("backward", self.try_backward)
        self.forward_workspace = copies if "forward" not in self.stopped else ()
        if not self.stopped:
            self.layouts = Layouts(follow=self.follows)

    def attempt(self, half: str, work: Callable[[], None]) -> None:
        try:
            work()
        except Untraceable as why:
            self.stopped[half] = str(why)

    def try_forward(self, copies: Sequence[Spec]) -> None:
        """Trace and encode with operands that nothing will run on: what fails later fails here."""
        outs = [np.zeros(1, v.dtype) for v in self.call.outs]
        ins = [np.zeros(1, v.dtype) for v in self.call.ins]
        for i, out in zip(self.call.op.updates, outs[len(outs) - len(self.call.op.updates) :], strict=True):
            ins[i] = out
        self.forward_steps(ins, [*outs, *(np.zeros(*spec) for spec in copies)], [False] * len(outs))

    def try_backward(self) -> None:
        call, op = self.call, self.call.op
        dy = [v.dtype.startswith("float") and i < len(call.outs) - op.saved for i, v in enumerate(call.outs)]
        x = [op.reads("x", i) for i in range(len(call.ins))]
        y = [op.reads("y", i) for i in range(len(call.outs))]
        values = (*call.outs, *call.ins, *call.outs)
        ins = [np.zeros(1, v.dtype) if there else None for v, there in zip(values, (*dy, *x, *y), strict=True)]
        alone = [[i == k for i in range(len(call.ins))] for k, able in enumerate(self.wanted) if able]
        for wanted in (self.wanted, *alone):
            outs = [np.zeros(1, v.dtype) if want else None for v, want in zip(call.ins, wanted, strict=True)]
            for added in (False, True):
                self.backward_steps(ins, outs, [added] * len(outs))

    @property
    def follows(self) -> bool:
        """Whether it computes alike in any layout: all blobs have one shape, and nothing else has."""
        values = [*self.call.ins, *self.call.outs]
        blobs = {v.shape for v in values if v.transient and v.shape}
        return len(blobs) == 1 and all(v.transient for v in values if v.shape in blobs)

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        if "forward" in self.stopped:
            return self.reference.forward(ins, outs, add)
        return self.forward_steps(ins, outs, add)

    def backward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        if "backward" in self.stopped:
            return self.reference.backward(ins, outs, add)
        return self.backward_steps(ins, outs, add)

    def forward_steps(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Compiled:
        n = len(self.call.outs)
        program = trace_forward(self.call, [out is not None for out in outs[:n]])
        return self.compiled(program, ins, outs[:n], add, outs[n] if len(outs) > n else None)

    def backward_steps(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Compiled:
        given, wanted = [x is not None for x in ins], [out is not None for out in outs]
        return self.compiled(trace_backward(self.call, given, wanted), ins, outs, add, None)

    def compiled(
        self, program: VectorProgram, ins: Buffers, outs: Buffers, add: Sequence[bool], copies: Array | None
    ) -> Compiled:
        code = encode(self.backend.isa.constants, program, ins, outs, add, copies)
        elements = max(array.size for array in (*ins, *outs) if array is not None)
        run = Interpreted(self.backend, program.dtype, code, elements, (*ins, *outs))
        if not len(code.cells):
            return run
        name = f"vector_program_cells_{program.dtype}"
        before = Compiled(self.backend, name, [code.cells, copies], [len(code.cells)], serial=True)
        return Series(before, run)

    @property
    def label(self) -> str:
        why = "".join(f", {half} by reference: {reason}" for half, reason in self.stopped.items())
        return f"traced {self.call.op.title}{why}"


def traced(backend: NativeBackend, call: Call) -> Traced | None:
    """Declines if no half of the op can be traced.

    Raises:
        Untraceable: the same, with the reason.
    """
    if not call.ins or not call.op.has_reference:
        return None
    kernel = Traced(backend, call)
    if "forward" in kernel.stopped and (len(kernel.stopped) == 2 or not call.op.has_backward or not any(kernel.wanted)):
        raise Untraceable(kernel.stopped["forward"])
    return kernel
