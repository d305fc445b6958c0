"""Geometric growth and decay."""

from __future__ import annotations

from math import inf


def geometric(start: float, factor: float, steps: int) -> float:
    """`start * factor ** steps`; infinite if that exceeds every float."""
    try:
        return float(start * factor**steps)
    except OverflowError:
        return inf
