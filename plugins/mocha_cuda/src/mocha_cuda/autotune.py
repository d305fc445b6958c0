"""The fastest of several ways to compute something, by measurement."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from statistics import median
from typing import TYPE_CHECKING, TypeVar

from mocha_cuda.compiled import Series

if TYPE_CHECKING:
    from mocha_cuda.device import Device

#: 0 in the environment: what the library takes to be the fastest, without measuring.
VARIABLE = "MOCHA_CUDA_AUTOTUNE"
#: Runs in a row that are measured together, as a graph: launching them one by one takes longer than most of them.
REPEATS = 10
#: Measurements of each way, of which the median counts.
ROUNDS = 5

Way = TypeVar("Way")


def enabled() -> bool:
    """What the environment says."""
    return os.environ.get(VARIABLE, "1").strip() != "0"


def fastest(device: Device, ways: Iterable[Way], ready: Callable[[Way], Callable[[], None]]) -> Way | None:
    """The way with the least median time; the earlier one of two that are equal. Entered in a running device.

    Args:
        ways: to choose from.
        ready: gives what runs one of them.

    Returns:
        None if none of them can be run.
    """
    times: list[tuple[float, Way]] = []
    for way in ways:
        try:
            run = ready(way)
            run()  # what is loaded at the first use, is not while a graph is recorded
            graph = device.record(Series(*[run] * REPEATS))
            times.append((median(device.milliseconds(graph) for _ in range(ROUNDS)), way))
        except RuntimeError:
            continue  # it was promised to run, but the library or CUDA finds that it does not
    return min(times, key=lambda pair: pair[0], default=(0.0, None))[1]
