"""Which processors a contestant gets: as many physical cores as it has threads."""

from __future__ import annotations

import os
from pathlib import Path

TOPOLOGY = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"


def cores() -> list[int]:
    """One processor of each physical core that this process may use."""
    if not hasattr(os, "sched_getaffinity"):
        return list(range(os.cpu_count() or 1))
    first: dict[str, int] = {}
    for cpu in sorted(os.sched_getaffinity(0)):
        siblings = Path(TOPOLOGY.format(cpu))
        first.setdefault(siblings.read_text() if siblings.exists() else str(cpu), cpu)
    return sorted(first.values())


def keep_to(threads: int) -> None:
    """Run this process on so many cores, the last ones: the first has most to do for the system."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores()[-threads:])


def model() -> str:
    """The processor's name, where the system tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "unknown processor")
