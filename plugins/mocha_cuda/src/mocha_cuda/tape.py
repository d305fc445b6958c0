"""`Tape`: steps in a row, captured as CUDA graphs."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

from mocha_cuda.compiled import Series

if TYPE_CHECKING:
    from mocha_cuda.device import Device

#: The number of copies of the steps in a graph that is launched repeatedly: a launch costs the host some microseconds.
UNROLLED = 16
#: The environment variable that turns graphs off, with the value 0. Steps then run one by one, to find one that fails.
VARIABLE = "MOCHA_CUDA_GRAPHS"


#: A callable, and the number of its first step.
Piece = tuple[int, Callable[[], Any]]


class Run(NamedTuple):
    """A bound step, whether a graph can hold it, and whether it updates parameters."""

    run: Callable[[], Any]
    captured: bool = True
    updates: bool = False


class Tape:
    """Runs steps one by one the first time, so that libraries load their code; later as graphs, if allowed.

    Attributes:
        whole: whether one graph holds all steps. Otherwise steps in Python divide them.
        position: the number of the step that began last, in a graph that of its first step; 0 between runs.
    """

    def __init__(self, device: Device, steps: Sequence[Run]) -> None:
        self.whole = all(step.captured for step in steps)
        self._device = device
        self._steps = steps
        self._warm = False
        self._graphs = os.environ.get(VARIABLE, "1").strip() != "0"
        self.position = 0
        self._pieces: list[Piece] = []
        self._unrolled: Callable[[], None] | None = None

    def __call__(self, times: int = 1) -> None:
        """Put the steps into the stream, `times` times. The caller has entered the device."""
        if not self._steps or times < 1:
            return
        while times and not (self._warm and self._graphs):
            self._go([(i, step.run) for i, step in enumerate(self._steps)])
            self._warm = True
            times -= 1
        if self.whole and times >= UNROLLED:
            if self._unrolled is None:
                self._unrolled = self._device.record(Series(*[step.run for step in self._steps] * UNROLLED))
            for _ in range(times // UNROLLED):
                self._unrolled()
            times %= UNROLLED
        if times and not self._pieces:
            self._pieces = self._recorded()
        for _ in range(times):
            self._go(self._pieces)

    def _go(self, pieces: Sequence[Piece]) -> None:
        for position, run in pieces:
            self.position = position
            run()
        self.position = 0

    def _recorded(self) -> list[Piece]:
        """A graph for each run of steps between two steps in Python, and the steps in Python."""
        pieces: list[Piece] = []
        for captured, group in groupby(enumerate(self._steps), key=lambda numbered: numbered[1].captured):
            steps = [(number, step.run) for number, step in group]
            if captured:
                steps = [(steps[0][0], self._device.record(Series(*(run for _, run in steps))))]
            pieces += steps
        return pieces
