"""The kernel of any op without one of its own: the op's reference, traced, and run in C."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mocha_core.api import ITEMSIZE, Kind, Layouts, Spec, TracedKernel, VectorProgram, traced_chain
from mocha_core.api import traced as traced_by
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
        super().__init__(backend, f"vector_program_{program.dtype}", buffers, [0, *shape, 0, *code.sizes])
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


class Traced(TracedKernel, NativeKernel):
    """Runs the halves that can be traced in C; in Python, the reference runs the other one."""

    backend: NativeBackend

    def __init__(self, backend: NativeBackend, call: Call) -> None:
        self.room: dict[str, Room] = {}
        super().__init__(backend, call)
        self.layouts = Layouts(follow=self.follows)

    def prepare(self, half: str, program: VectorProgram) -> tuple[Spec, ...]:
        """Encodes it with operands that nothing will run on: what fails later fails here."""
        call, changed, adds = self.call, 0, [False, True]
        if half == "forward":
            outs = [np.zeros(1, v.dtype) for v in call.outs]
            ins: list[Any] = [np.zeros(1, v.dtype) for v in call.ins]
            for i, out in zip(call.op.updates, outs[len(outs) - len(call.op.updates) :], strict=True):
                ins[i] = out
            changed, adds = sum(call.ins[i].spec.size == 1 for i in call.op.updates), [False]
        else:
            there = zip((*call.outs, *call.ins, *call.outs), self.given, strict=True)
            ins = [np.zeros(1, v.dtype) if given else None for v, given in there]
            outs = [np.zeros(1, v.dtype) for v in call.ins]
        sums = sum(output is not None and output.kind is Kind.COLUMN for output in program.outputs)
        room = [
            np.zeros(changed, np.int64) if changed else None,
            np.zeros((sums, 1, 1), program.dtype) if sums else None,
        ]
        constants = self.backend.isa.constants
        codes = [encode(constants, program, ins, outs, [added] * len(outs), *room) for added in adds]
        kept = max(code.sizes[-1] for code in codes)
        block = constants["vp_vectors"] * self.backend.isa.lane_bytes // ITEMSIZE[program.dtype]
        row = -(-program.columns // block) * block
        self.room[half] = Room(
            Spec((changed,), "int64") if changed else None,
            Spec((sums, min(PARTS, program.rows), program.columns), program.dtype) if sums else None,
            Spec((self.backend.threads * kept * row,), program.dtype) if kept else None,
        )
        return tuple(spec for spec in self.room[half] if spec is not None)

    def bound(
        self, half: str, program: VectorProgram, ins: Buffers, outs: Buffers, add: Sequence[bool], workspace: Buffers
    ) -> Compiled:
        rest = iter(workspace)
        copies, sums, kept = (None if spec is None else next(rest) for spec in self.room[half])
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


traced = partial(traced_by, Traced)
chain = partial(traced_chain, Traced)
