"""Contestants take turns in short rounds, and turns that were disturbed are repeated."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from harness.noise import Gate
from harness.remote import Remote, WorkerError

#: How often a turn is tried in one round before it is taken as it is.
ATTEMPTS = 4


@dataclass
class Times:
    """Seconds per iteration in the turns of one contestant that count."""

    seconds: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)
    """Seconds of all processors together, beside those by the clock."""
    discarded: int = 0
    error: str = ""
    """Why the worker could not go on."""
    disturbed: int = 0
    """Turns that count although they were disturbed, as all attempts of their round were."""

    def add(self, turn: Turn) -> None:
        self.seconds.append(turn.answer)
        self.processor.append(turn.processor)
        self.discarded += turn.discarded
        self.disturbed += turn.disturbed

    @property
    def median(self) -> float:
        return float(np.median(self.seconds))

    @property
    def spread(self) -> tuple[float, float]:
        """From the tenth to the ninetieth percentile."""
        low, high = np.percentile(self.seconds, [10, 90])
        return float(low), float(high)


@dataclass
class Turn:
    """What a worker answered, how many answers before it were discarded, and whether this one was disturbed, too."""

    answer: Any
    discarded: int
    disturbed: bool
    processor: float = 0.0
    """Of an iteration, in seconds, if the answer is an iteration's."""


def take_turn(remote: Remote, gate: Gate, *command: Any) -> Turn:
    """The answer to a command while nobody disturbed, or else the last one tried."""
    turn = Turn(None, -1, True)
    while turn.disturbed and turn.discarded < ATTEMPTS - 1:
        before = gate.begin()
        answer = remote.ask(*command)
        turn = Turn(answer, turn.discarded + 1, not gate.calm(before, remote.clock, remote.cpu), remote.processor)
    return turn


def compete(
    remotes: Sequence[Remote],
    workload: str,
    rounds: int,
    seconds: float,
    gate: Gate,
    show: Callable[[str], Any] = print,
) -> list[Times]:
    """The times of each worker. In every round each has a turn, in an order that changes; who fails has no more."""
    found = [Times() for _ in remotes]
    order, shuffle = list(range(len(remotes))), random.Random(0).shuffle
    for number in range(rounds):
        shuffle(order)
        for i in order:
            if not found[i].error:
                try:
                    found[i].add(take_turn(remotes[i], gate, "turn", workload, seconds))
                except WorkerError as error:
                    found[i].error = str(error)
        show(f"{workload}: round {number + 1} of {rounds}")
    return found
