"""Local response normalization, see csrc/kernels/lrn.cu."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from mocha_core.api import Runnable
from mocha_cuda.compiled import THREADS, Buffers, CUDAKernel, served
from mocha_cuda.divide import by

if TYPE_CHECKING:
    from mocha_core.api import Call
    from mocha_cuda.backend import CUDABackend

#: The number of elements of a tile; the same as in csrc/kernels/lrn.cu.
TILE = 1024
#: Sizes of windows that have their own kernels.
COMMON = (3, 5)
#: The number of tiles that a multiprocessor should have. With fewer tiles, smaller ones are better.
TILES = 4
#: Kernels do not pay if less than one in this many elements of a piece is a result.
FEW = 4


class Cut(NamedTuple):
    """Tiles along one axis: each has `length` elements, of which `step` are results, after `before` others."""

    length: int
    before: int
    step: int
    number: int

    @classmethod
    def of(cls, size: int, most: int, before: int, after: int) -> Cut:
        """Tiles of at most `most` elements, with those around the results. No tiles if results would be too few."""
        if size <= most:
            return cls(size, 0, size, 1)
        step = most - before - after
        return cls(most, before, step, -(-size // step) if step >= most // FEW else 0)


class LRN(CUDAKernel):
    """Planes are cut into tiles; each block computes one."""

    family = "lrn"
    #: The kind of windows, which is part of the kernels' names. Then the narrowest piece of a plane that reads memory
    #: at full speed.
    mode: ClassVar[str]
    narrow: ClassVar[int]

    def __init__(self, backend: CUDABackend, call: Call) -> None:
        super().__init__(backend, call)
        kernel = self.op.kernel
        self.planes, self.height, self.width = self.plane(call.ins[0].shape)
        front = (kernel - 1) // 2
        self.forward_cuts = self.cuts(front, kernel - 1 - front)
        self.backward_cuts = self.cuts(kernel - 1, kernel - 1)
        self.suffix = f"_{kernel}" if kernel in COMMON else ""
        elements = kernel**2 if self.mode == "within" else kernel
        self.numbers = [kernel, float(self.op.shift), self.op.scale / elements, float(self.op.power)]

    def plane(self, x: tuple[int, ...]) -> tuple[int, int, int]:
        """The number of planes, and the rows and columns of each."""
        raise NotImplementedError

    @property
    def fits(self) -> bool:
        """Whether planes are small enough for tiles, or windows small enough for pieces of planes."""
        return all(cut.number for cut in (*self.forward_cuts, *self.backward_cuts))

    def cuts(self, before: int, after: int) -> tuple[Cut, Cut]:
        """The tiles down and across: whole planes, or pieces that are at least `narrow` wide if planes are."""
        columns = min(self.width, max(self.narrow, TILE // self.height // 8 * 8))
        if self.height * self.width <= TILE:
            columns = self.width
        across = (before, after) if self.mode == "within" else (0, 0)
        return Cut.of(self.height, TILE // columns, before, after), Cut.of(self.width, columns, *across)

    def sizes(self, down: Cut, across: Cut) -> tuple[list[object], int]:
        """The kernels' arguments about the tiles, and the number of tiles."""
        plane, pieces = down.length * across.length, down.number * across.number
        together, blocks = 1, self.planes * pieces
        if pieces == 1:
            for most in (TILE, TILE // 2, THREADS):
                together = max(1, most // plane)
                blocks = -(-self.planes // together)
                if blocks >= TILES * self.backend.device.multiprocessors:
                    break
        sizes = [self.planes, self.height, self.width, together, down.length, across.length, down.before, across.before]
        sizes += [down.step, across.step, down.number, across.number]
        return [*sizes, by(plane), by(across.length)], blocks

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        sizes, blocks = self.sizes(*self.forward_cuts)
        name = f"{self.mode}_forward{self.suffix}"
        return self.bind(name, ins[0], outs[0], *sizes, *self.numbers, blocks=blocks)

    def backward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        sizes, blocks = self.sizes(*self.backward_cuts)
        name = f"{self.mode}_backward{self.suffix}"
        return self.bind(name, ins[0], ins[1], outs[0], *sizes, *self.numbers, add[0], blocks=blocks)


class LRNWithinChannel(LRN):
    """Windows are squares within each channel."""

    mode = "within"
    narrow = 32

    def plane(self, x: tuple[int, ...]) -> tuple[int, int, int]:
        return x[0] * x[1], x[2], x[3]


class LRNAcrossChannel(LRN):
    """Windows are runs of channels. Channels are the rows of planes, positions the columns."""

    mode = "across"
    narrow = 8

    def plane(self, x: tuple[int, ...]) -> tuple[int, int, int]:
        return x[0], x[1], prod(x[2:])


def fitting(kind: type[LRN]) -> Callable[[CUDABackend, Call], LRN | None]:
    """A builder that also declines planes and windows that do not fit."""
    build = served(kind)

    def fit(backend: CUDABackend, call: Call) -> LRN | None:
        kernel = build(backend, call)
        return kernel if kernel is not None and kernel.fits else None

    return fit


within_channel = fitting(LRNWithinChannel)
across_channel = fitting(LRNAcrossChannel)
