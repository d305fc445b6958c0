"""`CoffeeBreak`: an action of a solver between iterations, and its schedule."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from mocha_core import checks
from mocha_core.errors import ConfigurationError
from mocha_core.plugin.construction import Constructed

if TYPE_CHECKING:
    from mocha_core.net.net import Net
    from mocha_core.train.solver import Solver


class CoffeeBreak(metaclass=Constructed):
    """Base of coffee breaks: override what you need.

    After a signal (see `Solver.solve`), an exception ends `init` and `enjoy` if they take longer than half a second.
    `stopped` and `destroy` always run to their end.
    """

    #: Whether `enjoy` runs to its end after a signal, however long it takes.
    must_finish: ClassVar[bool] = False

    def init(self, solver: Solver, net: Net) -> None:
        """Called before the first iteration of `solve`; may set `solver.state` and parameters."""

    def enjoy(self, solver: Solver, net: Net) -> None:
        """Called at iteration 0, at every multiple of the interval, and at the last iteration."""

    def stopped(self, solver: Solver, net: Net) -> None:
        """Called after `enjoy` when `solve` stops before the last iteration: save what must not be lost."""

    def destroy(self, solver: Solver, net: Net) -> None:
        """Called when `solve` returns or fails."""

    def __repr__(self) -> str:
        fields = (
            f"{n}={v!r}" for n, v in vars(self).items() if n[0] != "_" and isinstance(v, str | int | float | Path)
        )
        return f"{type(self).__name__}({', '.join(fields)})"


@dataclass
class ScheduledBreak:
    """A coffee break and its interval: iterations, or epochs of the net's first data layer."""

    coffee: CoffeeBreak
    every_n_iter: int = 0
    every_n_epoch: int = 0
    _epoch: int = field(default=0, repr=False)

    def __post_init__(self) -> None:
        owner = f"Coffee break {type(self.coffee).__name__}"
        checks.integer(owner, "every_n_iter", self.every_n_iter, at_least=0)
        checks.integer(owner, "every_n_epoch", self.every_n_epoch, at_least=0)
        if (self.every_n_iter > 0) == (self.every_n_epoch > 0):
            raise ConfigurationError(
                f"{owner}: expected either every_n_iter or every_n_epoch, received every_n_iter="
                f"{self.every_n_iter}, every_n_epoch={self.every_n_epoch}."
            )

    def begin(self, epoch: int) -> None:
        """Start a run in this epoch."""
        self._epoch = epoch

    def iterations_left(self, iteration: int, to_epoch: int) -> int:
        """How many iterations may run before the next call of `due`."""
        if self.every_n_iter:
            return self.every_n_iter - iteration % self.every_n_iter
        return to_epoch

    def due(self, iteration: int, epoch: int) -> bool:
        """Whether to take the break now; with epochs, once in each."""
        if self.every_n_iter:
            return iteration % self.every_n_iter == 0
        changed = iteration == 0 or epoch // self.every_n_epoch > self._epoch // self.every_n_epoch
        self._epoch = epoch
        return changed
