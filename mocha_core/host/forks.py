"""Locks in a forked child: it has only the thread that forked, and the locks that other threads held stay locked."""

from __future__ import annotations

import os
import threading
import weakref
from typing import Protocol


class Locking(Protocol):
    """An object with locks."""

    def renew_locks(self) -> None:
        """In a forked child: replace the locks that other threads may have held."""


_living: weakref.WeakSet[Locking] = weakref.WeakSet()


def renew_in_child(owner: Locking) -> None:
    """Call `renew_locks` of an object in each forked child, as long as the object lives."""
    _living.add(owner)


def renewed(lock: threading.RLock) -> threading.RLock:
    """The lock if this thread, the only one of a forked child, can enter it; otherwise a new one."""
    if not lock.acquire(blocking=False):
        return threading.RLock()
    lock.release()
    return lock


def _renew() -> None:
    for owner in list(_living):
        owner.renew_locks()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)
