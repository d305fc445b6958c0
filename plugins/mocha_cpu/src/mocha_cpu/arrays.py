"""Helpers of the kernels: bound NumPy calls, and views of workspaces."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mocha_core.api import cpus

Array = NDArray[Any]
#: As `mocha_core.api.Buffers`, without None: a kernel knows which buffers exist.
Buffers = Sequence[Any]

#: NumPy releases the interpreter's lock to copy more elements.
FEW = 500


def copy(target: Array, source: Array) -> None:
    """Copy an array into one of the same shape; beside other threads, small ones with the interpreter's lock."""
    small = target.size > FEW and target.nbytes <= cpus.SMALL_COPY
    if small and threading.active_count() > 1 and _alike(target, source):
        target.reshape(-1).view(np.uint8).data[:] = source.reshape(-1).view(np.uint8).data
    else:
        np.copyto(target, source, casting="unsafe")


def _alike(one: Array, other: Array) -> bool:
    dense = one.flags.c_contiguous and other.flags.c_contiguous
    return dense and one.dtype == other.dtype and one.shape == other.shape


class Steps:
    """NumPy calls with all their operands, recorded while binding and run one after the other."""

    def __init__(self) -> None:
        self._calls: list[Callable[[], Any]] = []

    def do(self, function: Callable[..., Any], *operands: Any, **options: Any) -> None:
        """Record a call. Operands are the arrays themselves: views are made here, once."""
        self._calls.append(partial(function, *operands, **options))

    def give(
        self, function: Callable[..., Any], *operands: Any, out: Array, scratch: Array, add: bool, **options: Any
    ) -> None:
        """Record that the function's result is written to `out` or, through `scratch`, added to it."""
        self.do(function, *operands, out=scratch if add else out, **options)
        if add:
            self.do(np.add, out, scratch, out=out)

    def __call__(self) -> None:
        for call in self._calls:
            call()


def view(buffer: Array, shape: tuple[int, ...]) -> Array:
    """The first elements of a flat buffer as an array of `shape`."""
    return buffer[: prod(shape)].reshape(shape)
