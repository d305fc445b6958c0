"""`Tape`: steps in a row, captured as CUDA graphs."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

from mocha_cuda.compiled import Series

if TYPE_CHECKING:
    from mocha_cuda.device import Device

#: How often a graph that is launched again and again holds the steps: a launch costs the host some microseconds.
UNROLLED = 16
#: 0 in the environment: steps are always put into the stream one by one, so that one that fails can be found.
VARIABLE = "MOCHA_CUDA_GRAPHS"


#: What runs, and the number of its first step.
Piece = tuple[int, Callable[[], Any]]


class Run(NamedTuple):
    """A bound step, whether a graph can hold it, and whether it updates parameters."""

    run: Callable[[], Any]
    captured: bool = True
    updates: bool = False


class Tape:
    """Runs steps one by one the first time, which loads what libraries load lazily; from then on as graphs, if at all.

    Attributes:
        whole: whether one graph holds all steps. Otherwise steps in Python divide them.
        position: which step was begun last; of those in a graph, the first. 0 between one time and the next.
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
        """Put the steps into the stream, so many times. Entered in a running device."""
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
        """A graph for each stretch between two steps in Python, and those steps."""
        pieces: list[Piece] = []
        for captured, group in groupby(enumerate(self._steps), key=lambda numbered: numbered[1].captured):
            steps = [(number, step.run) for number, step in group]
            if captured:
                steps = [(steps[0][0], self._device.record(Series(*(run for _, run in steps))))]
            pieces += steps
        return pieces
