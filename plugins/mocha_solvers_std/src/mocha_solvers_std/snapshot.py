"""`Snapshot`: saves a training run, and goes on with it."""

from __future__ import annotations

import re
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from mocha_core.coffee_break import CoffeeBreak
from mocha_core.errors import ConfigurationError, FileError, SnapshotError
from mocha_core.files import remove_leftovers
from mocha_core.formats import format_of
from mocha_core.log import logger
from mocha_core.snapshot import capture, restore
from mocha_solvers_std.history import History

if TYPE_CHECKING:
    from mocha_core.net import Net
    from mocha_core.solver import Solver


class Snapshot(CoffeeBreak):
    """Saves the run to `snapshot-000500.hdf5` and the like, and what is published to `history.jsonl`.

    At iteration 0 nothing is saved: nothing has been learned. A run that is told to stop is saved where it stops.
    A run that was stopped and loaded again is the uninterrupted run, bit for bit.

    Args:
        directory: where the files go; it is created if need be.
        auto_load: at the beginning of a run, load the newest snapshot there. Broken ones are named and
            skipped.
        also_load_solver_state: without it, only the parameters are loaded and the run begins at iteration 0.

    Raises:
        FileError: the directory cannot be used.
        SnapshotError: the newest complete snapshot is of another net or another kind of solver.
    """

    def __init__(
        self, directory: str | PathLike[str], auto_load: bool = True, also_load_solver_state: bool = True
    ) -> None:
        if not isinstance(directory, (str, PathLike)) or not str(directory):
            raise ConfigurationError(
                f"Snapshot: expected directory to be a path such as 'snapshots', received {directory!r}."
            )
        self.directory = Path(directory)
        self.auto_load = auto_load
        self.also_load_solver_state = also_load_solver_state
        self._history: History | None = None
        self._latest: int | None = None

    def init(self, solver: Solver, net: Net) -> None:
        self._latest = None
        format_of(self._path(0))  # where none is installed, better fail now than after hours
        self._open_directory()
        if self.auto_load and solver.state.iteration == 0:
            self._load_newest(solver, net)
        self._history = History(self.directory / "history.jsonl", solver.state.iteration)
        solver.listeners.append(self._history.write)

    def enjoy(self, solver: Solver, net: Net) -> None:
        iteration = solver.state.iteration
        if iteration in (0, self._latest):
            return
        path = self._path(iteration)
        logger.info("Saving snapshot to %s...", path.name)
        if path.exists():
            logger.warning("Overwriting %s...", path)
        format_of(path).save_snapshot(path, capture(solver, net))
        self._latest = iteration

    def stopped(self, solver: Solver, net: Net) -> None:
        self.enjoy(solver, net)

    def destroy(self, solver: Solver, net: Net) -> None:
        if self._history is not None:
            solver.listeners.remove(self._history.write)
            self._history.close()
            self._history = None

    def _open_directory(self) -> None:
        try:
            if self.directory.is_dir():
                logger.info("Snapshot directory %s already exists", self.directory)
                remove_leftovers(self.directory)
            else:
                logger.info("Snapshot directory %s does not exist, creating...", self.directory)
                self.directory.mkdir(parents=True)
        except OSError as error:
            raise FileError(
                f"Snapshot directory '{self.directory}' cannot be used: {error}. Give another one."
            ) from error

    def _path(self, iteration: int) -> Path:
        return self.directory / f"snapshot-{iteration:06d}.hdf5"

    def _load_newest(self, solver: Solver, net: Net) -> None:
        matches = (re.fullmatch(r"snapshot-(\d+)\.hdf5", path.name) for path in self.directory.iterdir())
        for iteration in sorted({int(match[1]) for match in matches if match}, reverse=True):
            path = self._path(iteration)
            try:
                snapshot = format_of(path).load_snapshot(path)
            except SnapshotError as error:
                logger.warning("Skipping %s: %s", path.name, error)
                continue
            logger.info("Auto-loading from the latest snapshot %s...", path)
            try:
                restore(snapshot, solver, net, solver_state=self.also_load_solver_state)
            except SnapshotError as error:
                raise SnapshotError(f"'{path}': {error}") from error
            self._latest = solver.state.iteration
            return
