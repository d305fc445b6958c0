"""Locks in a forked child: it has only the thread that forked, and the locks that other threads held stay locked."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from typing import Any

_methods: set[weakref.WeakMethod[Callable[[], Any]]] = set()


def in_child(method: Callable[[], None]) -> None:
    """Call a method of an object in each forked child, as long as the object lives."""
    _methods.add(weakref.WeakMethod(method, _methods.discard))


def renewed(lock: threading.RLock) -> threading.RLock:
    """The lock if this thread, the only one of a forked child, can enter it; otherwise a new one."""
    if not lock.acquire(blocking=False):
        return threading.RLock()
    lock.release()
    return lock


def _renew() -> None:
    for reference in list(_methods):
        if (method := reference()) is not None:
            method()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)
