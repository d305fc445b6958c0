"""Limits the threads of BLAS. BLAS has one number of threads for the whole process, whose threads share it."""

from __future__ import annotations

import os
import threading
from contextlib import AbstractContextManager
from functools import cache
from typing import Any

from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]


class _Limits:
    """The limits that threads of this process have entered. The smallest of them applies."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entered: list[int] = []
        self._holds: int | None = None
        self._blas: list[Any] = []
        self._before: list[int] = []
        os.register_at_fork(after_in_child=self._renew_lock)

    def _renew_lock(self) -> None:
        self._lock = threading.Lock()

    def enter(self, threads: int) -> None:
        with self._lock:
            self._entered.append(threads)
            self._apply()

    def leave(self, threads: int) -> None:
        with self._lock:
            self._entered.remove(threads)
            self._apply()

    def _apply(self) -> None:
        smallest = min(self._entered) if self._entered else None
        if smallest == self._holds:
            return
        # Finding BLAS among the loaded libraries takes milliseconds, so do it once and not in every run.
        self._blas = self._blas or ThreadpoolController().select(user_api="blas").lib_controllers
        if self._holds is None:
            self._before = [library.get_num_threads() for library in self._blas]
        self._holds = smallest
        for library, before in zip(self._blas, self._before, strict=True):
            _set(library, before if smallest is None else smallest)


def _set(library: Any, threads: int) -> None:
    """Set the number from any thread; threadpoolctl ignores all threads but the first that asks OpenBLAS for one."""
    release = getattr(library, "clear_controlling_thread", lambda force: None)
    release(force=True)
    library.set_num_threads(threads)
    release(force=True)


_LIMITS = _Limits()


class BLASThreads(AbstractContextManager[None]):
    """A context in which BLAS uses at most `most` threads; afterwards it uses as many as before."""

    def __init__(self, most: int) -> None:
        self.most = most

    def __enter__(self) -> None:
        _LIMITS.enter(self.most)

    def __exit__(self, *exception: object) -> None:
        _LIMITS.leave(self.most)


@cache
def blas_threads(most: int) -> BLASThreads:
    """The limit to `most` threads."""
    return BLASThreads(most)


def own_threads() -> int:
    """How many BLAS uses by itself: what OPENBLAS_NUM_THREADS and the like say, or one for each processor."""
    return max((pool["num_threads"] for pool in ThreadpoolController().select(user_api="blas").info()), default=1)
