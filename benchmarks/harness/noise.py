"""How a turn is known that something else on the machine disturbed.

Before and after each turn a short loop of multiply-adds runs on all cores: where it is slower than it has been, cores
are shared, throttled or stolen. And Linux tells how long the processors worked in a turn: what the contestant did not
use was used by others.
"""

from __future__ import annotations

import os
from pathlib import Path

from harness.peak import Peak

#: A turn counts if the loop ran at this part of the best speed so far, and others had at most so much of the machine.
SPEED, OTHERS = 0.9, 0.1
STAT = Path("/proc/stat")


def busy_seconds() -> float | None:
    """What all processors have worked so far, time stolen by the hypervisor included; None elsewhere than on Linux."""
    if not STAT.exists():
        return None
    user, nice, system, _, _, irq, softirq, steal = map(int, STAT.read_text().split(None, 9)[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


class Gate:
    """Judges turns."""

    def __init__(self, peak: Peak) -> None:
        self.peak = peak
        self._busy = busy_seconds()

    def begin(self) -> float:
        """The speed of the loop before a turn, as a part of the best one."""
        speed = self.peak.spin()
        self._busy = busy_seconds()
        return speed

    def calm(self, before: float, clock: float, cpu: float) -> bool:
        """Whether the turn that ended just now was left alone, given its seconds by the clock and of the worker."""
        busy = busy_seconds()
        # Linux counts in ticks, of which a turn meets parts.
        others = 0.0 if busy is None else busy - self._busy - cpu - 2 / os.sysconf("SC_CLK_TCK")
        after = self.peak.spin()
        return min(before, after) >= SPEED and others <= OTHERS * clock * (os.cpu_count() or 1)
