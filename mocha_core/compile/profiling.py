"""How long each step of a program takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from time import perf_counter
from typing import NamedTuple

import numpy as np

from mocha_core.compile.kernel import BoundStep
from mocha_core.graph.plan import Section


class StepTime(NamedTuple):
    """A kernel in a profile. `seconds` is its mean wall-clock time per iteration, including the wait for the other
    threads of the backend."""

    layer: str
    op: str
    section: Section
    kernel: str
    seconds: float


class Profile(list[StepTime]):
    """The steps in the order in which they run. It prints as a table with milliseconds."""

    @property
    def seconds(self) -> float:
        """The seconds of all steps together."""
        return sum(row.seconds for row in self)

    def __str__(self) -> str:
        rows = [("layer", "op", "section", "kernel")] + [(r.layer, r.op, str(r.section), r.kernel) for r in self]
        widths = [max(len(row[i]) for row in rows) for i in range(4)]
        times = ["ms", *(f"{1000 * row.seconds:.4f}" for row in self)]
        lines = [
            "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=True)), time.rjust(10)])
            for row, time in zip(rows, times, strict=True)
        ]
        return "\n".join([*lines, f"{1000 * self.seconds:.4f} ms in all"])

    __repr__ = __str__


class Timer:
    """Runs steps one after the other, and adds up the time of each."""

    def __init__(self, complete: Callable[[BoundStep], None], steps: Sequence[BoundStep]) -> None:
        self.seconds = np.zeros(len(steps))
        self._complete = complete
        self._steps = steps

    @contextmanager
    def running(self) -> Iterator[None]:
        """Time the steps that run inside this context."""
        untimed = [replace(bound) for bound in self._steps]
        for i, bound in enumerate(self._steps):
            bound.run = partial(self._time, i, untimed[i])
        try:
            yield
        finally:
            for bound, original in zip(self._steps, untimed, strict=True):
                bound.run = original.run

    def _time(self, i: int, bound: BoundStep) -> None:
        start = perf_counter()
        self._complete(bound)
        self.seconds[i] += perf_counter() - start

    def profile(self, n: int) -> Profile:
        """The mean times over `n` iterations."""
        calls = [(b.step.call, b.step.section, b.kernel.label) for b in self._steps]
        times = zip(calls, self.seconds / n, strict=True)
        return Profile(StepTime(c.layer, c.op.name, section, label, float(s)) for (c, section, label), s in times)
