"""The kernel of any op without one of its own: the op's reference, traced, as generated CUDA."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from mocha_core.api import Spec, TracedKernel, Untraceable, VectorProgram, traced_chain
from mocha_core.api import traced as traced_by
from mocha_cuda import nvrtc
from mocha_cuda.compiled import BLOCKS, MOST, Buffers, CUDAKernel, Launch, striding
from mocha_cuda.generate import source

if TYPE_CHECKING:
    from mocha_core.api import Call
    from mocha_cuda.backend import CUDABackend


class Traced(TracedKernel, CUDAKernel):
    """Runs the halves that can be traced in CUDA; on CuPy, the reference runs the other one."""

    backend: CUDABackend

    def __init__(self, backend: CUDABackend, call: Call) -> None:
        super().__init__(backend, call)
        self.captured = not self.stopped

    def prepare(self, half: str, program: VectorProgram) -> tuple[Spec, ...]:
        if any(value.spec.size >= MOST for value in (*self.call.ins, *self.call.outs)):
            raise Untraceable(f"it has arrays of {MOST} elements or more")
        source(program)
        return ()

    def bound(
        self, half: str, program: VectorProgram, ins: Buffers, outs: Buffers, add: Sequence[bool], workspace: Buffers
    ) -> Launch:
        taken = sorted(int(node.number) for node in program.nodes if node.op == "input")
        given = [k for k, output in enumerate(program.outputs) if output is not None]
        operands = [ins[k] for k in taken] + [x for k in given for x in (outs[k], int(add[k]))]
        n = program.rows or max(array.size for array in operands if not isinstance(array, int))
        most = BLOCKS * int(self.backend.device.multiprocessors)
        blocks = min(n, most) if program.columns else striding(self.backend, n)
        family = nvrtc.written(source(program))
        return Launch(self.backend, family, "traced", program.dtype, blocks, [*operands, n])


traced = partial(traced_by, Traced)
chain = partial(traced_chain, Traced)
