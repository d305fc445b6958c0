"""Finds the fastest of several ways to compute the same thing, by measurement."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from statistics import median
from typing import TYPE_CHECKING, TypeVar

from mocha_cuda.compiled import Series

if TYPE_CHECKING:
    from mocha_cuda.device import Device

#: The environment variable that turns measurements off, with the value 0: the library then chooses.
VARIABLE = "MOCHA_CUDA_AUTOTUNE"
#: The number of runs that are measured together, as a graph: a launch takes longer than most of the runs.
REPEATS = 10
#: The number of measurements of each way. The median counts.
ROUNDS = 5

Way = TypeVar("Way")


def enabled() -> bool:
    """Whether the environment allows measurements."""
    return os.environ.get(VARIABLE, "1").strip() != "0"


def fastest(device: Device, ways: Iterable[Way], ready: Callable[[Way], Callable[[], None]]) -> Way | None:
    """The way with the least median time; of two equal ones the earlier. The caller has entered the device.

    Args:
        ways: the ways to choose from.
        ready: returns a callable that runs a way.

    Returns:
        The fastest way; None if none of them runs.
    """
    times: list[tuple[float, Way]] = []
    for way in ways:
        try:
            run = ready(way)
            run()  # loads lazily loaded code before a graph is recorded
            graph = device.record(Series(*[run] * REPEATS))
            times.append((median(device.milliseconds(graph) for _ in range(ROUNDS)), way))
        except RuntimeError:
            continue  # the library or CUDA fails although the library offered this way
    return min(times, key=lambda pair: pair[0], default=(0.0, None))[1]
