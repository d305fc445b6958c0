"""Softmax over axis 1."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING

from mocha_core.api import Runnable
from mocha_cuda.compiled import WARP, Buffers, CUDAKernel, served

if TYPE_CHECKING:
    from mocha_core.api import Value

#: With this many positions or more, one thread has all classes of an item: neighbouring threads then read neighbours.
COALESCED = 8


class Softmax(CUDAKernel):
    """y = exp(x) / total; dx = y * (dy - sum of dy * y)."""

    family = "softmax"

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        items, *shape = _items(self.call.ins[0])
        return self.bind("softmax_forward", ins[0], outs[0], items, *shape, threads=items * shape[-1])

    def backward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        (dy, _, y), dx = ins, outs[0]
        items, *shape = _items(self.call.ins[0])
        return self.bind("softmax_backward", dy, y, dx, items, *shape, add[0], threads=items * shape[-1])


def _items(x: Value) -> tuple[int, int, int, int]:
    """Items, classes, positions and lanes."""
    rows, classes, positions = sizes(x)
    return rows * positions, classes, positions, lanes(classes, positions)


def sizes(x: Value) -> tuple[int, int, int]:
    """Rows, classes and positions of (N, classes, ...)."""
    return x.shape[0], x.shape[1], prod(x.shape[2:])


def lanes(classes: int, positions: int) -> int:
    """The number of threads that share the classes of an item: a power of 2."""
    return 1 if positions >= COALESCED else min(WARP, 1 << (classes - 1).bit_length())


softmax = served(Softmax)
