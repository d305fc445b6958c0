"""`CPUBackend`: arrays are NumPy's, matrix products are BLAS's."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from math import prod
from typing import Any

import numpy as np

from mocha_core.api import Backend, checks
from mocha_core.host import memory as host_memory
from mocha_cpu.arrays import Array
from mocha_cpu.blas import blas_threads

#: Bytes; a cache line, and the widest vector register.
ALIGNMENT = 64


def usable_cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class CPUBackend(Backend):
    """Runs wherever NumPy does.

    Args:
        threads: how many threads BLAS may use while a program runs, at least 1; None leaves it to BLAS, which
            reads OPENBLAS_NUM_THREADS and the like.

    Raises:
        ConfigurationError: `threads` is not an integer of at least 1.
    """

    name = "cpu"
    xp = np
    arrays_on_host = True

    def __init__(self, threads: int | None = None) -> None:
        self.threads = None if threads is None else checks.integer("System", "threads", threads)
        self.programs_at_once = usable_cores()

    def running(self) -> AbstractContextManager[Any]:
        """Limits BLAS to `threads`, and gives it back what it had when the run ends."""
        return nullcontext() if self.threads is None else blas_threads(self.threads)

    def empty(self, shape: tuple[int, ...], dtype: str) -> Array:
        """An uninitialised array that begins at a multiple of 64 bytes."""
        size = prod(shape) * np.dtype(dtype).itemsize
        memory = np.empty(size + ALIGNMENT, np.uint8)
        start = -memory.ctypes.data % ALIGNMENT
        return memory[start : start + size].view(dtype).reshape(shape)

    def free_bytes(self) -> int | None:
        """What the machine, the control groups and RLIMIT_AS still allow; None elsewhere than on Linux."""
        return host_memory.free_bytes()

    def to_numpy(self, array: Array) -> Array:
        return array.copy()

    def copy_from_numpy(self, array: Array, source: Array) -> None:
        np.copyto(array, source, casting="unsafe")
