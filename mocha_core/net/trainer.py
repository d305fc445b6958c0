"""`Trainer`: a solver, as far as a net knows it."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from mocha_core.describe.builder import UpdateBuilder
from mocha_core.describe.parameter import Parameter
from mocha_core.graph.value import Value

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mocha_core.net.net import Net


class TrainingOptions(Protocol):
    """What a training program depends on besides the net."""

    @property
    def accumulate(self) -> int:
        """Minibatches whose gradients are averaged for one update."""

    @property
    def check_finite(self) -> bool:
        """Whether the objective is checked in each minibatch."""


class Progress(Protocol):
    """Where a training is."""

    iteration: int


class Trainer(Protocol):
    """Records what follows the backward steps of a training program, and says what its cells hold."""

    @property
    def parameters(self) -> TrainingOptions:
        """What it was told."""

    @property
    def state(self) -> Progress:
        """Where it is."""

    @property
    def rule(self) -> Hashable:
        """What its updates depend on; when it changes, programs are compiled anew."""

    def exchange(self, b: UpdateBuilder, parameters: Sequence[Parameter]) -> None:
        """Record what happens to gradients before the updates."""

    def record(self, b: UpdateBuilder, parameters: Sequence[Parameter]) -> None:
        """Record the updates."""

    def schedule(self, first: int, n: int) -> Mapping[str, NDArray[Any]]:
        """Values of its cells for `n` iterations from number `first` on."""

    def memories(self, net: Net) -> Mapping[str, Value]:
        """Its slots of a net's parameters."""
