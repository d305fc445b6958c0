"""How much memory this process can still get from the machine, where the machine says so.

Linux grants memory that it does not have, and ends the process that touches it: only asking first gives an error.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

MEMINFO = Path("/proc/meminfo")
CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUPS = Path("/proc/self/cgroup")
OWN_SIZE = Path("/proc/self/statm")
#: Of cgroups of version 2 and 1: limit, usage, and the pages of files in it, which the kernel gives back when asked.
VERSION_2 = ("memory.max", "memory.current", ("inactive_file", "active_file"))
VERSION_1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", ("total_inactive_file", "total_active_file"))


def free_bytes() -> int | None:
    """The least of what the machine has available without swapping, what the control groups of the process and their
    parents have left, and what RLIMIT_AS allows. None elsewhere than on Linux: unknown.
    """
    if sys.platform != "linux":
        return None
    return max(0, min(known)) if (known := [*_machine(), *_control_groups(), *_address_space()]) else None


def _machine() -> Iterator[int]:
    yield from (1024 * kilobytes for kilobytes in _table(MEMINFO, "MemAvailable:"))


def _control_groups() -> Iterator[int]:
    for line in _read(OWN_CGROUPS).splitlines():
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            root, names = CGROUPS / "memory", VERSION_1
        elif not controllers:
            root, names = CGROUPS, VERSION_2
        else:
            continue
        # A container may see its own group as the root, whatever the path says: what is not there is passed over.
        own = PurePosixPath(path.lstrip("/"))
        for group in (root / own, *(root / parent for parent in own.parents)):
            yield from _left(group, *names)


def _left(group: Path, limit: str, usage: str, files: tuple[str, ...]) -> Iterator[int]:
    most, used = _read(group / limit).strip(), _read(group / usage).strip()
    if most.isdigit() and used.isdigit():  # else there is no limit ("max"), or no such group
        yield int(most) - int(used) + sum(_table(group / "memory.stat", *files))


def _address_space() -> Iterator[int]:
    import resource

    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY and (pages := _read(OWN_SIZE).split()):
        yield limit - int(pages[0]) * os.sysconf("SC_PAGE_SIZE")


def _table(path: Path, *names: str) -> list[int]:
    """The numbers behind some words at the beginning of lines."""
    fields = (line.split() for line in _read(path).splitlines())
    return [int(words[1]) for words in fields if len(words) > 1 and words[0] in names]


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
