"""`Snapshot`: saves a training run, and resumes it."""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING, Any, Literal

from mocha_core.api import (
    CoffeeBreak,
    ConfigurationError,
    FileError,
    SnapshotError,
    absolute,
    capture,
    checks,
    format_of,
    logger,
    restore,
)
from mocha_solvers_std.history import History
from mocha_solvers_std.manifest import Entry
from mocha_solvers_std.run_folder import HISTORY, RunFolder

if TYPE_CHECKING:
    from mocha_core.api import Net, Solver


class Snapshot(CoffeeBreak):
    """Saves the run to files such as `snapshot-000500.hdf5`, and published events to `history.jsonl`.

    It saves nothing at iteration 0, and saves once more when a run is told to stop. A run that was stopped and resumed
    gives the result of the uninterrupted run, bit for bit. `manifest.json` names the run that the snapshots belong to.

    Args:
        directory: the folder of the files; `~` is the home folder. It is created if it does not exist, belongs to this
            process while it trains, and stays the same if the working directory changes.
        auto_load: at the beginning of a run, load the newest complete snapshot there. A warning names each broken one.
        also_load_solver_state: if False, only the parameters are loaded, and a new run begins at iteration 0.
        keep: the number of the run's snapshots to keep. The oldest is deleted when a newer one is complete. None
            keeps all.
        on_error: what to do if a file cannot be written during the training, such as on a full disk: "warn" and try
            again at the next break, or "stop" with the error. The snapshot before stays intact in both cases.

    Raises:
        FileError: the directory cannot be used, or another process uses it.
        SnapshotError: the newest complete snapshot is of another net or another kind of solver; or there are
            snapshots, and none is complete: a run does not silently begin anew.
    """

    must_finish = True

    def __init__(
        self,
        directory: str | PathLike[str],
        auto_load: bool = True,
        also_load_solver_state: bool = True,
        keep: int | None = None,
        on_error: Literal["warn", "stop"] = "warn",
    ) -> None:
        if not isinstance(directory, (str, PathLike)) or not str(directory):
            raise ConfigurationError(
                f"Snapshot: expected directory to be a path such as 'snapshots', received {checks.shown(directory)}."
            )
        if on_error not in ("warn", "stop"):
            raise ConfigurationError(
                f"Snapshot: expected on_error to be 'warn' or 'stop', received {checks.shown(on_error)}."
            )
        self.directory = absolute(directory)
        self.auto_load: bool = checks.instance("Snapshot", "auto_load", auto_load, bool, "True")
        self.also_load_solver_state: bool = checks.instance(
            *("Snapshot", "also_load_solver_state", also_load_solver_state, bool, "True")
        )
        self.keep = None if keep is None else checks.integer("Snapshot", "keep", keep)
        self.on_error = on_error
        self._run: str | None = None
        self._latest: int | None = None
        self._folder: RunFolder | None = None
        self._history: History | None = None
        self._history_fails = False

    def init(self, solver: Solver, net: Net) -> None:
        self._latest = None
        format_of("snapshot.hdf5")  # if no format is installed, fail now and not after hours
        self._folder = folder = RunFolder(self.directory, self.keep)
        continued = solver.state.iteration > 0 and folder.found is not None and folder.found.run == self._run
        loaded = self._load_newest(folder, solver, net) if self.auto_load and solver.state.iteration == 0 else None
        self._history = History(folder.path / HISTORY, solver.state.iteration)
        self._history_fails = False
        if continued or loaded:
            folder.go_on(solver, net, loaded)
        else:
            folder.begin(solver, net)
        self._run = folder.manifest.run
        solver.listeners.append(self._write_event)

    def enjoy(self, solver: Solver, net: Net) -> None:
        iteration = solver.state.iteration
        if self._folder is None or iteration in (0, self._latest):
            return
        try:
            run = capture(solver, net)
            path = self._folder.save(run)
            self._latest = iteration
            self._folder.enter(Entry.of(path, run.facts))
        except FileError as error:
            if self.on_error == "stop":
                raise
            newest = f"The newest is that of iteration {self._latest}" if self._latest else "There is none yet"
            done = "is saved, but not listed" if self._latest == iteration else "could not be saved"
            logger.warning("Iteration %d %s: %s %s.", iteration, done, error, newest)

    def stopped(self, solver: Solver, net: Net) -> None:
        self.enjoy(solver, net)

    def destroy(self, solver: Solver, net: Net) -> None:
        if self._write_event in solver.listeners:
            solver.listeners.remove(self._write_event)
        try:
            if self._history is not None:
                self._history.close()
        except FileError as error:
            if self.on_error == "stop":
                raise
            logger.warning("The last events are lost: %s", error)
        finally:
            self._history = None
            if self._folder is not None:
                self._folder.close()
                self._folder = None

    def _write_event(self, event: dict[str, Any]) -> None:
        if self._history is None or self._folder is None:
            return
        try:
            self._folder.lock.check()
            self._history.write(event)
            self._history_fails = False
        except FileError as error:
            if self.on_error == "stop":
                raise
            if not self._history_fails:  # once until it works again
                logger.warning("An event waits to be written: %s", error)
            self._history_fails = True

    def _load_newest(self, folder: RunFolder, solver: Solver, net: Net) -> Entry | None:
        """The entry of the snapshot with which the run goes on; None if it begins."""
        broken = [f"{name} is missing, though the manifest lists it." for name in folder.missing()]
        for reason in broken:
            logger.warning("%s", reason)
        earlier = folder.earlier() if self.also_load_solver_state else []
        for path in folder.snapshots():
            if path.name in earlier:
                logger.info("%s is of an earlier run, and is not loaded", path.name)
                continue
            misfit = None
            try:
                with format_of(path).open_snapshot(path) as run:
                    logger.info("Auto-loading from the latest snapshot %s...", path)
                    try:
                        restore(run, solver, net, solver_state=self.also_load_solver_state)
                    except SnapshotError as error:
                        misfit = error
                    facts = run.facts
            except FileError as error:
                logger.warning("Skipping %s: %s", path.name, error)
                broken.append(str(error))
                continue
            if misfit is not None:
                raise SnapshotError(f"'{path}': {misfit}") from misfit
            self._latest = solver.state.iteration
            return Entry.of(path, facts) if self.also_load_solver_state else None
        if broken:
            raise SnapshotError(
                f"'{folder.path}' has no snapshot that is complete: {' '.join(broken)} Put a good copy there; or, to "
                "begin anew, delete them and manifest.json, or use Snapshot(..., auto_load=False)."
            )
        return None
