"""`CPUBackend`: arrays of NumPy, matrix products of BLAS."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from math import prod
from typing import Any

import numpy as np

from mocha_core.api import Backend, cpus
from mocha_cpu.arrays import FEW, Array, copy
from mocha_cpu.blas import blas_threads, own_threads

#: The alignment of arrays in bytes: a cache line, and the widest vector register.
ALIGNMENT = 64


class CPUBackend(Backend):
    """Runs wherever NumPy does.

    Args:
        threads: how many threads BLAS may use while a program runs, at most 8 for each processor that the process may
            use; None leaves it to BLAS, which reads OPENBLAS_NUM_THREADS and the like, but knows no quota of a
            control group: of these BLAS uses no more.

    Raises:
        ConfigurationError: `threads` is not such an integer.
    """

    name = "cpu"
    xp = np
    arrays_on_host = True
    # Blobs of more images leave the caches.
    images_at_once = 32

    def __init__(self, threads: int | None = None) -> None:
        self.threads = None if threads is None else cpus.checked_threads(threads)
        # No cached property: before Python 3.12 these share a lock, which a fork in another thread leaves locked.
        self._most = self._most_threads()
        # The threads of BLAS poll for work: programs that each have all of them take the processors from each other.
        self.programs_at_once = max(1, cpus.processors() // (self._most or own_threads()))

    def running(self) -> AbstractContextManager[Any]:
        """Limits the threads of BLAS, and gives it back what it had when the run ends."""
        return nullcontext() if self._most is None else blas_threads(self._most)

    def _most_threads(self) -> int | None:
        """Threads of BLAS; None leaves them to BLAS."""
        quota = cpus.quota()
        if self.threads is not None or quota is None:
            return self.threads
        return min(quota, own_threads())

    def empty(self, shape: tuple[int, ...], dtype: str) -> Array:
        """An uninitialised array that begins at a multiple of 64 bytes."""
        size = prod(shape) * np.dtype(dtype).itemsize
        memory = np.empty(size + ALIGNMENT, np.uint8)
        start = -memory.ctypes.data % ALIGNMENT
        return memory[start : start + size].view(dtype).reshape(shape)

    def to_numpy(self, array: Array) -> Array:
        if array.size <= FEW:
            return array.copy()
        found = np.empty(array.shape, array.dtype)
        copy(found, array)
        return found

    def copy_from_numpy(self, array: Array, source: Array) -> None:
        copy(array, source)
