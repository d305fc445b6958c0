"""Clipping of gradients: by their common norm, or by value; one launch for all gradients of a program."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from mocha_core.api import Runnable, Spec
from mocha_cuda.compiled import REALS, THREADS, Buffers, CUDAKernel, Series
from mocha_cuda.kernels.block_sums import tickets
from mocha_cuda.tables import Table

if TYPE_CHECKING:
    from mocha_core.api import Call
    from mocha_cuda.backend import CUDABackend

#: Elements that a block has, as csrc/kernels/clipping.cu has it.
TILE = 16 * THREADS


class Clipping(CUDAKernel):
    """Each gradient has its own blocks."""

    family = "clipping"

    def __init__(self, backend: CUDABackend, call: Call) -> None:
        super().__init__(backend, call)
        self.blocks = sum(_blocks(value.spec.size) for value in call.ins)

    def table(self, gradients: Buffers) -> Table:
        """The addresses of the gradients, and the blocks of each."""
        rows, blocks = [], 0
        for gradient in gradients:
            rows.append((gradient, int(gradient.size), blocks))
            blocks += _blocks(gradient.size)
        return Table(self.backend, rows)


class ClipNorm(Clipping):
    """The first launch computes the norm: its last block adds the sums of the others. The second launch scales."""

    def __init__(self, backend: CUDABackend, call: Call) -> None:
        super().__init__(backend, call)
        self.forward_workspace = (Spec((self.blocks,), "float64"),)

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        table, norm = [self.table(ins), len(ins)], outs[0]
        sums = self.bind("clip_norm_squares", *table, norm, outs[-1], tickets(self.backend), blocks=self.blocks)
        return Series(sums, self.bind("clip_norm_forward", *table, norm, float(self.op.limit), blocks=self.blocks))


class ClipValue(Clipping):
    """Clips in one launch."""

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        return self.bind("clip_value_forward", self.table(ins), len(ins), float(self.op.limit), blocks=self.blocks)


def _blocks(elements: int) -> int:
    return -(-elements // TILE)


def _alike(kernel: type[Clipping]) -> Callable[[CUDABackend, Call], Clipping | None]:
    """A builder that declines gradients of different dtypes, and dtypes that kernels do not compute with."""

    def build(backend: CUDABackend, call: Call) -> Clipping | None:
        dtypes = {value.dtype for value in call.ins}
        return kernel(backend, call) if len(dtypes) == 1 and dtypes <= set(REALS) else None

    return build


clip_norm = _alike(ClipNorm)
clip_value = _alike(ClipValue)
