"""How many threads this process can use, by the machine, the affinity mask, the control groups, OMP_NUM_THREADS and
the user.

A control group's quota is time: "150000 100000" is the time of 1.5 processors in each period. More threads than that,
rounded up, only wait for each other.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path, PurePosixPath

from mocha_core import checks
from mocha_core.errors import ConfigurationError
from mocha_core.log import warn

#: Where the files of the system are.
ROOT = Path("/")
VARIABLE = "OMP_NUM_THREADS"
#: OpenMP ends the process if the system gives it no more.
MOST = 1024
#: Threads that a user may ask for, for each processor.
EACH = 8
#: Copying so many bytes takes less time than handing the interpreter's lock to another thread and getting it back.
SMALL_COPY = 2**18


def quota(root: Path = ROOT) -> int | None:
    """The quota of the process's control groups and their parents, of versions 1 and 2, in processors, rounded up.
    None: they set no limit, or this is not Linux."""
    limits = list(_quotas(root))
    return max(1, min(limits)) if limits else None


def processors(root: Path = ROOT) -> int:
    """The number of logical processors that this process may use: those in its affinity mask, at most its quota."""
    return min(len(_affinity()), quota(root) or MOST)


def cores(root: Path = ROOT) -> int:
    """As `processors`, counting those once that are of one physical core."""
    return min(len({_siblings(root, cpu) for cpu in _affinity()}), quota(root) or MOST)


def default_threads(root: Path = ROOT) -> int:
    """OMP_NUM_THREADS (the first number of a list), at most the number of processors; if unset, one per core.

    Warns:
        RuntimeWarning: once for each value that is too large, or is not an integer of at least 1.
    """
    given = os.environ.get(VARIABLE, "").strip()
    if not given:
        return cores(root)
    first, most = given.split(",")[0].strip().lstrip("0"), processors(root)
    if not (first.isascii() and first.isdigit()):
        _warn(f"{VARIABLE}={given!r} is ignored: expected an integer >= 1. The default is {cores(root)} threads.")
        return cores(root)
    threads = int(first[:18])
    if threads > most:
        _warn(
            f"{VARIABLE}={given!r} is more than the {most} processors that this process may use. The default "
            f"is {most} threads. Set {VARIABLE} to at most {most}, or unset it."
        )
    return min(threads, most)


def checked_threads(threads: object, root: Path = ROOT) -> int:
    """What the user said.

    Raises:
        ConfigurationError: it is not an integer of at least 1, or is more than 8 for each processor, or than 1024.
    """
    number, here = checks.integer("System", "threads", threads), processors(root)
    most = min(MOST, EACH * here)
    if number > most:
        raise ConfigurationError(
            f"System: expected at most {most} threads, received {number}. This process may use {here} processors, and "
            f"more threads than these gain nothing: use threads={here}, or leave threads out."
        )
    return number


_warn = cache(warn)


def _affinity() -> set[int]:
    """The numbers of the processors that the process may run on."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def _siblings(root: Path, cpu: int) -> str:
    return _read(root / f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list") or str(cpu)


def _quotas(root: Path) -> Iterator[int]:
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        own = PurePosixPath(path.lstrip("/"))
        # A container may see its own group as the root, whatever the path says: what is not there is passed over.
        groups = (own, *own.parents)
        if not controllers:
            found = [_read(root / "sys/fs/cgroup" / group / "cpu.max").split() for group in groups]
        elif "cpu" in controllers.split(","):
            folders = [root / "sys/fs/cgroup" / mount / group for mount in ("cpu", controllers) for group in groups]
            found = [[_read(folder / f"cpu.cfs_{name}_us") for name in ("quota", "period")] for folder in folders]
        else:
            found = []
        for words in found:
            # Where there is no limit, the quota is "max" or -1.
            if len(words) == 2 and all(word.isdigit() for word in words) and int(words[1]):
                yield -(-int(words[0]) // int(words[1]))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""
