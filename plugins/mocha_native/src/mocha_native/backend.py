"""`NativeBackend`: kernels in C where there are any, those of mocha-cpu elsewhere."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from mocha_cpu.backend import CPUBackend

from mocha_core import checks
from mocha_core.arrangement import Arrangement
from mocha_core.placement import Memory
from mocha_core.plan import Plan
from mocha_core.program import BoundStep, Program
from mocha_core.storage import Storage
from mocha_native import isa
from mocha_native.program import NativeProgram
from mocha_native.threads import default_threads, one_blas_thread


class NativeBackend(CPUBackend):
    """Runs many iterations in one call from Python. Results do not depend on the number of threads.

    Args:
        threads: how many run a program, at least 1; None: as many as OMP_NUM_THREADS says, else one for each physical
            core. In a process that was forked, and in a build without OpenMP, it is one.

    Raises:
        BackendError: MOCHA_NATIVE_ISA names an instruction set that is not there.
        ConfigurationError: `threads` is not an integer of at least 1.
    """

    name = "native"
    #: Data sets of this size are gathered by the program itself, without Python.
    resident_bytes = 64 << 20

    def __init__(self, threads: int | None = None) -> None:
        super().__init__()
        self.threads: int = default_threads() if threads is None else checks.integer("System", "threads", threads)
        self.isa = isa.chosen()

    def running(self) -> AbstractContextManager[Any]:
        """Keeps BLAS, which kernels in Python use, to one thread."""
        return one_blas_thread()

    def executor(
        self, plan: Plan, bound: list[BoundStep], arrangement: Arrangement, memory: Memory, storage: Storage
    ) -> Program:
        """One array of steps, run in C."""
        return NativeProgram(self, plan, bound, arrangement, memory, storage)
