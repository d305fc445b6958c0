"""The number of threads that run a program."""

from __future__ import annotations

import os
from pathlib import Path

from mocha_core.api import ConfigurationError, checks

#: OpenMP ends the process if the system refuses it a thread.
MOST = 1024
CPUS = Path("/sys/devices/system/cpu")


def default_threads() -> int:
    """The number in OMP_NUM_THREADS, else the number of physical cores that this process may use."""
    first = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return min(int(first), MOST) if first.isdecimal() and int(first) > 0 else physical_cores()


def checked_threads(threads: object) -> int:
    """The user's number of threads, checked.

    Raises:
        ConfigurationError: the number is not an integer from 1 to `MOST`.
    """
    number = checks.integer("System", "threads", threads)
    if number > MOST:
        raise ConfigurationError(
            f"System: expected at most {MOST} threads, received {number}. More than there are cores gain nothing: "
            f"this machine has {physical_cores()}."
        )
    return number


def physical_cores() -> int:
    """The number of cores; a core that runs several threads at a time counts once."""
    if not hasattr(os, "sched_getaffinity"):
        return os.cpu_count() or 1
    cpus = os.sched_getaffinity(0)
    return len({_siblings(cpu) for cpu in cpus})


def _siblings(cpu: int) -> str:
    try:
        return (CPUS / f"cpu{cpu}" / "topology" / "thread_siblings_list").read_text(encoding="ascii")
    except OSError:
        return str(cpu)
