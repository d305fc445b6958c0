"""How much memory this process can still get from the machine, if the machine tells.

Linux grants more memory than it has, and kills a process that uses it. Only a check in advance gives an error.
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
#: For cgroups of versions 2 and 1: the files with the limit, the usage, and the file pages, which the kernel can free.
VERSION_2 = ("memory.max", "memory.current", ("inactive_file", "active_file"))
VERSION_1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", ("total_inactive_file", "total_active_file"))


def free_bytes() -> int | None:
    """The minimum of three numbers: the bytes available without swapping, the bytes left in the control groups of the
    process and their parents, and the bytes that RLIMIT_AS allows. None, which means unknown, except on Linux.
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
        # A container may see its own group as the root, in spite of the path: skip folders that are missing.
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
    """The numbers after the given words, which begin lines."""
    fields = (line.split() for line in _read(path).splitlines())
    return [int(words[1]) for words in fields if len(words) > 1 and words[0] in names]


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
