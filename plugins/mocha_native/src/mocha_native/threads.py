"""How many threads, and how BLAS, which has its own, is kept to one meanwhile."""

from __future__ import annotations

import os
import threading
from contextlib import AbstractContextManager, ExitStack
from functools import cache
from pathlib import Path
from typing import Any

from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

from mocha_core import checks
from mocha_core.errors import ConfigurationError

#: OpenMP ends the process if the system gives it no more.
MOST = 1024
CPUS = Path("/sys/devices/system/cpu")


def default_threads() -> int:
    """What OMP_NUM_THREADS says, else the number of physical cores that this process may use."""
    first = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return min(int(first), MOST) if first.isdecimal() and int(first) > 0 else physical_cores()


def checked_threads(threads: object) -> int:
    """What the user said.

    Raises:
        ConfigurationError: it is not an integer from 1 to `MOST`.
    """
    number = checks.integer("System", "threads", threads)
    if number > MOST:
        raise ConfigurationError(
            f"System: expected at most {MOST} threads, received {number}. More than there are cores gain nothing: "
            f"this machine has {physical_cores()}."
        )
    return number


def physical_cores() -> int:
    """Cores, counting those once that run several threads at a time."""
    if not hasattr(os, "sched_getaffinity"):
        return os.cpu_count() or 1
    cpus = os.sched_getaffinity(0)
    return len({_siblings(cpu) for cpu in cpus})


def _siblings(cpu: int) -> str:
    try:
        return (CPUS / f"cpu{cpu}" / "topology" / "thread_siblings_list").read_text(encoding="ascii")
    except OSError:
        return str(cpu)


class OneBLASThread(AbstractContextManager[None]):
    """While anybody has it entered, BLAS runs in the thread that calls it: in this process, whose threads share BLAS.

    The pools of BLAS and of OpenMP would compete, and sums in BLAS depend on the number of its threads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entered = 0
        self._undo = ExitStack()
        self._blas: Any = None
        os.register_at_fork(after_in_child=self._renew_lock)

    def _renew_lock(self) -> None:
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        with self._lock:
            self._entered += 1
            if self._entered == 1:
                # Looking for BLAS among the loaded libraries takes milliseconds: done once.
                self._blas = self._blas or ThreadpoolController().select(user_api="blas")
                self._undo.enter_context(self._blas.limit(limits=1))

    def __exit__(self, *exception: object) -> None:
        with self._lock:
            self._entered -= 1
            if self._entered == 0:
                self._undo.close()


@cache
def one_blas_thread() -> OneBLASThread:
    """The one of this process."""
    return OneBLASThread()
