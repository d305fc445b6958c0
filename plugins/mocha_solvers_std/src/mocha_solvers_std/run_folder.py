"""`RunFolder`: the folder of a run with its snapshots. It deletes those that are too many."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from mocha_core.api import FileError, format_of, logger, remove_leftovers
from mocha_solvers_std.folder_lock import FolderLock
from mocha_solvers_std.manifest import NAME, SNAPSHOT, Entry, Manifest, measure

if TYPE_CHECKING:
    from mocha_core.api import Net, SavedRun, Solver

HISTORY = "history.jsonl"


class RunFolder:
    """A folder to which only this process writes, until `close`.

    It writes a snapshot first, then `manifest.json`, and then deletes the older ones that the manifest gives up. Even
    if the process is killed, the folder holds all snapshots that the manifest lists, and at most one more.

    Args:
        path: the folder, which is created if it does not exist.
        keep: the number of snapshots of the run to keep; None for all.

    Raises:
        FileError: the folder cannot be used, or another process uses it.
    """

    def __init__(self, path: Path, keep: int | None = None) -> None:
        self.path = path
        self.keep = keep
        self.manifest: Manifest
        """The manifest of this run, after `begin` or `go_on`."""
        self._make()
        # A symbolic link that leads elsewhere later would lead past the lock.
        self.path = path = path.resolve()
        self.lock = FolderLock(path)
        try:
            for names in ("snapshot-*.hdf5", NAME, HISTORY):
                remove_leftovers(path, names)
            self.found = self._read_manifest()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Release the folder."""
        self.lock.release()

    def snapshots(self) -> list[Path]:
        """The files with names of snapshots, complete or not, highest iteration first.

        Raises:
            FileError: the folder cannot be read.
        """
        try:
            names = os.listdir(self.path)
        except OSError as error:
            raise FileError(f"'{self.path}' cannot be read: {error.strerror}. Check the disk.") from error
        matches = filter(None, map(SNAPSHOT.fullmatch, names))
        return [self.path / match[0] for match in sorted(matches, key=lambda m: (int(m[1]), m[0]), reverse=True)]

    def missing(self) -> list[str]:
        """The names of snapshots that the manifest lists and that are missing."""
        return [e.name for e in self.found.snapshots if not (self.path / e.name).exists()] if self.found else []

    def earlier(self) -> list[str]:
        """The names of older snapshots in the folder that are not of this run."""
        return self.found.earlier if self.found else []

    def begin(self, solver: Solver, net: Net) -> None:
        """Begin a new run. The files of earlier runs stay.

        Raises:
            FileError: the manifest cannot be written.
        """
        if others := self.snapshots():
            logger.warning(
                "'%s' holds %d snapshots of an earlier run, up to %s. They stay; this run does not go on from them.",
                *(self.path, len(others), others[0].name),
            )
        self.manifest = Manifest.begin(solver, net)
        self.manifest.earlier = [path.name for path in others]
        self.manifest.write(self.path)

    def go_on(self, solver: Solver, net: Net, loaded: Entry | None = None) -> None:
        """Continue the folder's run from the solver's iteration, or from a loaded snapshot.

        Raises:
            FileError: the manifest cannot be written.
        """
        self.manifest = Manifest.begin(solver, net, self.found)
        if self.found:
            known, to_remove = self.found.snapshots, self.found.removing
        else:
            known, to_remove = self._rebuilt(loaded) if loaded else [], []
        if loaded:
            self._compare(loaded)
            known = [e for e in known if e.name != loaded.name] + [loaded]
            to_remove = [e for e in to_remove if e.name != loaded.name]
        until = solver.state.iteration
        self.manifest.snapshots = [e for e in known if e.iteration <= until and self._is_there(e)]
        self.manifest.removing = [e for e in to_remove if self._is_unchanged(e)]
        self.manifest.earlier = [name for name in self.earlier() if not loaded or name != loaded.name]
        self._remove()
        self.manifest.write(self.path)

    def save(self, run: SavedRun) -> Path:
        """Write a snapshot.

        Raises:
            FileError: the file cannot be written, or the folder does not belong to this process.
        """
        self.lock.check()
        path = self.path / f"snapshot-{run.facts['iteration']:06d}.hdf5"
        logger.info("Saving snapshot to %s...", path.name)
        if path.exists():
            logger.warning("Overwriting %s...", path)
        format_of(path).save_snapshot(path, run)
        return path

    def enter(self, entry: Entry) -> None:
        """Put a saved snapshot into the manifest, and delete the oldest ones that are too many.

        Raises:
            FileError: the manifest cannot be written; then nothing is deleted.
        """
        entries = [e for e in self.manifest.snapshots if e.name != entry.name]
        entries = sorted([*entries, entry], key=lambda e: e.iteration)
        excess = len(entries) - self.keep if self.keep is not None else 0
        removing = [e for e in self.manifest.removing if e.name != entry.name]
        self.manifest.removing = [*removing, *entries[: max(0, excess)]]
        self.manifest.snapshots = entries[max(0, excess) :]
        self.manifest.earlier = [name for name in self.manifest.earlier if name != entry.name]
        self.manifest.write(self.path)
        self._remove()

    def _make(self) -> None:
        try:
            if self.path.is_dir():
                logger.info("Snapshot directory %s already exists", self.path)
            else:
                logger.info("Snapshot directory %s does not exist, creating...", self.path)
                self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise FileError(
                f"Snapshot directory '{self.path}' cannot be used: {error.strerror or error}. Name another one."
            ) from error

    def _read_manifest(self) -> Manifest | None:
        try:
            found = Manifest.read(self.path)
        except FileError as error:
            logger.warning("%s It is made anew from the snapshots.", error)
            return None
        if found is None and self.snapshots():
            logger.warning("'%s' is missing. It is made anew from the snapshots.", self.path / NAME)
        return found

    def _rebuilt(self, loaded: Entry) -> list[Entry]:
        """Entries for the complete snapshots before the loaded one that seem to be of the same run."""
        paths, entries = self.snapshots(), []
        for path in reversed(paths[paths.index(self.path / loaded.name) + 1 :]):
            try:
                with format_of(path).open_snapshot(path) as snapshot:
                    if self._is_own(snapshot.facts):
                        entries.append(Entry.of(path, snapshot.facts))
            except FileError as error:
                logger.warning("%s is not listed: %s", path.name, error)
        return entries

    def _is_own(self, facts: dict[str, object]) -> bool:
        return all(facts.get(name) == getattr(self.manifest, name) for name in ("seed", "dtype", "solver"))

    def _is_there(self, entry: Entry) -> bool:
        try:
            size = (self.path / entry.name).stat().st_size
        except OSError:
            return False
        if size != entry.bytes:
            logger.warning(
                "%s is damaged: it has %d bytes, %s says %d. Delete it.", *(entry.name, size, NAME, entry.bytes)
            )
        return size == entry.bytes

    def _is_unchanged(self, entry: Entry) -> bool:
        try:
            return measure(self.path / entry.name) == (entry.bytes, entry.sha256)
        except FileError:
            return False

    def _compare(self, loaded: Entry) -> None:
        """Warn if the manifest does not list a loaded snapshot."""
        if self.found is None:
            return
        listed = {e.name: e for e in [*self.found.removing, *self.found.snapshots]}.get(loaded.name)
        if listed is None:
            logger.info(
                "%s is complete, but not in %s: it was copied there, is of an earlier run, or its process ended just "
                "then.",
                *(loaded.name, NAME),
            )
        elif listed.sha256 != loaded.sha256:
            logger.warning(
                "%s is complete, but not the one that %s lists: it was replaced (SHA-256 %s, listed %s).",
                *(loaded.name, NAME, loaded.sha256, listed.sha256),
            )

    def _remove(self) -> None:
        """Delete the snapshots that the manifest on the disk has given up."""
        left = []
        for entry in self.manifest.removing:
            try:
                os.unlink(self.path / entry.name)
                logger.info("Removing %s: %d snapshots are kept", entry.name, len(self.manifest.snapshots))
            except FileNotFoundError:
                pass
            except OSError as error:
                logger.warning("'%s' cannot be deleted: %s. It stays.", self.path / entry.name, error.strerror)
                left.append(entry)
        self.manifest.removing = left
