"""The kernel of any op without one of its own: the op's reference, traced, and run in C."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mocha_core.api import (
    ITEMSIZE,
    Kind,
    Layouts,
    Reference,
    Runnable,
    Spec,
    Untraceable,
    VectorProgram,
    trace_backward,
    trace_forward,
)
from mocha_native.compiled import Array, Buffers, Compiled, NativeKernel, Series
from mocha_native.encode import Code, encode

if TYPE_CHECKING:
    from mocha_core.api import Call
    from mocha_native.backend import NativeBackend


#: Sums of rows are made in so many parts, which threads share.
PARTS = 16


class Interpreted(Compiled):
    """A program bound to arrays, which it keeps alive: C has only their addresses."""

    def __init__(
        self, backend: NativeBackend, program: VectorProgram, code: Code, kept: Array | None, operands: Buffers
    ) -> None:
        buffers: list[Array | None] = [code.numbers, code.links, code.constants, code.operands, code.phases, kept]
        shape = program.columns, program.rows
        if not program.columns:  # in any layout
            shape = max(array.size for array in operands if array is not None), 1
        super().__init__(backend, f"vector_program_{program.dtype}", buffers, [0, *shape, *code.sizes])
        self.operands = operands


class Room(NamedTuple):
    """The workspaces of a program.

    Attributes:
        copies: an int64 for each number that it both reads and changes.
        sums: those of the rows of a part: (sums, parts, columns).
        kept: rows of results, for each thread.
    """

    copies: Spec | None
    sums: Spec | None
    kept: Spec | None

    @property
    def specs(self) -> tuple[Spec, ...]:
        """Of those that there are."""
        return tuple(spec for spec in self if spec is not None)

    def split(self, arrays: Buffers) -> list[Array | None]:
        """The workspace for each spec, or None."""
        rest = iter(arrays)
        return [None if spec is None else next(rest) for spec in self]


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
        #: By the half: the workspaces, and how they are used.
        self.room: dict[str, Room] = {}
        self._backward: dict[tuple[bool, ...], VectorProgram] = {}
        #: Gradients that may be wanted.
        able = call.op.differentiable
        self.wanted = [
            v.dtype in ("float32", "float64") and (able is None or i in able) for i, v in enumerate(call.ins)
        ]
        self.attempt("forward", self.try_forward)
        if call.op.has_backward and any(self.wanted):
            self.attempt("backward", self.try_backward)
        self.forward_workspace = self.room["forward"].specs if "forward" not in self.stopped else ()
        self.backward_workspace = self.room["backward"].specs if "backward" in self.room else ()
        if not self.stopped:
            self.layouts = Layouts(follow=self.follows)

    def attempt(self, half: str, work: Callable[[], None]) -> None:
        try:
            work()
        except Untraceable as why:
            self.stopped[half] = str(why)

    def try_forward(self) -> None:
        """Trace, and encode with operands that nothing will run on: what fails later fails here."""
        call, updates = self.call, self.call.op.updates
        self._forward = trace_forward(call, [True] * len(call.outs))
        outs = [np.zeros(1, v.dtype) for v in call.outs]
        ins = [np.zeros(1, v.dtype) for v in call.ins]
        for i, out in zip(updates, outs[len(outs) - len(updates) :], strict=True):
            ins[i] = out
        changed = sum(call.ins[i].spec.size == 1 for i in updates)
        self.room["forward"] = self.tried(self._forward, ins, outs, changed=changed)

    def try_backward(self) -> None:
        """As `try_forward`."""
        call, op = self.call, self.call.op
        dy = [v.dtype.startswith("float") and i < len(call.outs) - op.saved for i, v in enumerate(call.outs)]
        x = [op.reads("x", i) for i in range(len(call.ins))]
        y = [op.reads("y", i) for i in range(len(call.outs))]
        values = (*call.outs, *call.ins, *call.outs)
        ins = [np.zeros(1, v.dtype) if there else None for v, there in zip(values, (*dy, *x, *y), strict=True)]
        outs = [np.zeros(1, v.dtype) if want else None for v, want in zip(call.ins, self.wanted, strict=True)]
        self.room["backward"] = self.tried(self.traced_backward(ins), ins, outs, may_add=True)

    def tried(
        self, program: VectorProgram, ins: Buffers, outs: Buffers, changed: int = 0, may_add: bool = False
    ) -> Room:
        """The workspaces of a program. `changed` is the number of numbers that it both reads and changes."""
        sums = sum(output is not None and output.kind is Kind.COLUMN for output in program.outputs)
        copies = np.zeros(changed, np.int64) if changed else None
        partial = np.zeros((sums, 1, 1), program.dtype) if sums else None
        constants, kept = self.backend.isa.constants, 0
        for added in (False, True) if may_add else (False,):
            code = encode(constants, program, ins, outs, [added] * len(outs), copies, partial)
            kept = max(kept, code.sizes[-1])
        block = constants["vp_vectors"] * self.backend.isa.lane_bytes // ITEMSIZE[program.dtype]
        row = -(-program.columns // block) * block
        return Room(
            Spec((changed,), "int64") if changed else None,
            Spec((sums, min(PARTS, program.rows), program.columns), program.dtype) if sums else None,
            Spec((self.backend.threads * kept * row,), program.dtype) if kept else None,
        )

    @property
    def element_wise(self) -> bool:
        """Whether forward makes each element from those at the same place."""
        return "forward" not in self.stopped and not self._forward.columns

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
        program = self._forward.only([out is not None for out in outs[:n]])
        return self.compiled(program, ins, outs[:n], add, self.room["forward"].split(outs[n:]))

    def backward_steps(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Compiled:
        n = len(self.call.ins)
        program = self.traced_backward(ins).only([out is not None for out in outs[:n]])
        return self.compiled(program, ins, outs[:n], add, self.room["backward"].split(outs[n:]))

    def traced_backward(self, ins: Buffers) -> VectorProgram:
        """The program for all gradients, of the operands that are there."""
        given = tuple(x is not None for x in ins)
        if given not in self._backward:
            self._backward[given] = trace_backward(self.call, given, self.wanted)
        return self._backward[given]

    def compiled(
        self, program: VectorProgram, ins: Buffers, outs: Buffers, add: Sequence[bool], room: Sequence[Array | None]
    ) -> Compiled:
        copies, sums, kept = room
        code = encode(self.backend.isa.constants, program, ins, outs, add, copies, sums)
        steps: list[Compiled] = []
        if len(code.cells):
            name = f"vector_program_cells_{program.dtype}"
            steps.append(Compiled(self.backend, name, [code.cells, copies], [len(code.cells)], serial=True))
        steps.append(Interpreted(self.backend, program, code, kept, (*ins, *outs, sums)))
        columns = [k for k, output in enumerate(program.outputs) if output is not None and output.kind is Kind.COLUMN]
        for at, k in enumerate(columns):
            assert sums is not None
            sizes = [*sums.shape[1:], add[k]]
            steps.append(Compiled(self.backend, f"vector_program_sums_{program.dtype}", [sums[at], outs[k]], sizes))
        return steps[0] if len(steps) == 1 else Series(*steps)

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
