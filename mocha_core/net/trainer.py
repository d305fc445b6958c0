"""`Trainer`: the part of a solver that a net uses."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from mocha_core.describe.builder import UpdateBuilder
from mocha_core.describe.parameter import Parameter
from mocha_core.graph.value import Value

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mocha_core.net.net import Net


class TrainingOptions(Protocol):
    """Options of a solver that its training programs depend on."""

    @property
    def accumulate(self) -> int:
        """Minibatches whose gradients are averaged for one update."""

    @property
    def check_finite(self) -> bool:
        """Whether the objective is checked in each minibatch."""


class Progress(Protocol):
    """The progress of a training run."""

    iteration: int


@runtime_checkable
class Trainer(Protocol):
    """Records the steps after the backward steps of a training program, and gives the values of its cells."""

    @property
    def parameters(self) -> TrainingOptions:
        """Its options."""

    @property
    def state(self) -> Progress:
        """Where it is."""

    @property
    def rule(self) -> Hashable:
        """A key of all that its updates depend on; when it changes, programs are compiled again."""

    def exchange(self, b: UpdateBuilder, parameters: Sequence[Parameter]) -> None:
        """Record the changes to gradients before the updates, such as clipping."""

    def record(self, b: UpdateBuilder, parameters: Sequence[Parameter]) -> None:
        """Record the updates."""

    def schedule(self, first: int, n: int) -> Mapping[str, NDArray[Any]]:
        """Values of its cells for `n` iterations from number `first` on."""

    def memories(self, net: Net) -> Mapping[str, Value]:
        """Its slots for a net's parameters, by name."""
