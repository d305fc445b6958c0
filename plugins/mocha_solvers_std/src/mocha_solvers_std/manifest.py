"""`Manifest`: the run that a folder belongs to, and the snapshots of that run."""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from hashlib import file_digest
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mocha_core
from mocha_core.api import FileError, SnapshotError, plugin_manager, write_file

if TYPE_CHECKING:
    from mocha_core.api import Net, Solver

NAME = "manifest.json"
#: Names of snapshots; the number is the iteration.
SNAPSHOT = re.compile(r"snapshot-([0-9]{1,18})\.hdf5")


@dataclass(frozen=True)
class Entry:
    """A snapshot of the run.

    Attributes:
        name: the name of the file.
        iteration: the iteration of the snapshot.
        bytes: the size of the file.
        sha256: the digest of the whole file, in hexadecimal digits.
        objective: the objective of the minibatch before; None if it is not finite.
    """

    name: str
    iteration: int
    bytes: int
    sha256: str
    objective: float | None

    @classmethod
    def of(cls, path: Path, facts: dict[str, Any]) -> Entry:
        """An entry for an existing file.

        Raises:
            FileError: the file cannot be read, or its facts are not those of a run.
        """
        size, digest = measure(path)
        try:
            objective = float(facts["objective"])
            iteration = _checked(facts["iteration"], int)
        except (KeyError, TypeError, ValueError) as error:
            raise SnapshotError(f"'{path}' has no facts of a training run. Delete it.") from error
        return cls(path.name, iteration, size, digest, objective if isfinite(objective) else None)


def measure(path: Path) -> tuple[int, str]:
    """The size of a file, and its SHA-256.

    Raises:
        FileError: the file cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return os.fstat(file.fileno()).st_size, file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise FileError(f"'{path}' cannot be read: {error.strerror}. Check the disk.") from error


@dataclass
class Manifest:
    """The contents of `manifest.json`.

    Attributes:
        run: the run's identity, which it keeps when it is resumed.
        created: the time when the run began: UTC, ISO 8601.
        versions: the versions of Mocha and its plugins, by distribution. This and the next four attributes are those of
            the process that wrote last.
        backend: the name of the backend.
        dtype: the dtype of the system.
        seed: the seed of the system.
        solver: the class of the solver.
        snapshots: the complete snapshots of this run, oldest first.
        removing: older snapshots that are about to be deleted, or were deleted.
        earlier: the names of older snapshots in the folder that are not of this run.
    """

    run: str
    created: str
    versions: dict[str, str]
    backend: str
    dtype: str
    seed: int
    solver: str
    snapshots: list[Entry] = field(default_factory=list)
    removing: list[Entry] = field(default_factory=list)
    earlier: list[str] = field(default_factory=list)

    @classmethod
    def begin(cls, solver: Solver, net: Net, former: Manifest | None = None) -> Manifest:
        """The manifest of a new run, or of a `former` run that goes on, without snapshots yet."""
        system = net.system
        plugins = {record.distribution: record.version for record in plugin_manager().records}
        return cls(
            run=former.run if former else os.urandom(8).hex(),
            created=former.created if former else datetime.now(UTC).isoformat(timespec="seconds"),
            versions={"mocha-core": mocha_core.__version__} | plugins,
            backend=system.backend.name,
            dtype=system.dtype,
            seed=system.seed,
            solver=type(solver).__name__,
        )

    @classmethod
    def read(cls, folder: Path) -> Manifest | None:
        """The manifest of a folder; None if there is none.

        Raises:
            FileError: the file cannot be read, or is damaged.
        """
        path = folder / NAME
        try:
            found = json.loads(path.read_bytes())
            return cls(
                **{name: _checked(found[name], kind) for name, kind in _PLAIN.items()},
                versions={_checked(k, str): _checked(v, str) for k, v in found["versions"].items()},
                snapshots=[_entry(entry) for entry in found["snapshots"]],
                removing=[_entry(entry) for entry in found["removing"]],
                earlier=[_checked(name, str) for name in found["earlier"]],
            )
        except FileNotFoundError:
            return None
        except OSError as error:
            raise FileError(f"'{path}' cannot be read: {error.strerror}.") from error
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise FileError(f"'{path}' is damaged ({type(error).__name__}: {error}).") from error

    def write(self, folder: Path) -> None:
        """Replace the manifest of a folder.

        Raises:
            FileError: the file cannot be written; the old one stays.
        """
        write_file(folder / NAME, json.dumps(asdict(self), indent=1, allow_nan=False).encode() + b"\n")


_PLAIN = {"run": str, "created": str, "backend": str, "dtype": str, "seed": int, "solver": str}
_ENTRY = {"name": str, "iteration": int, "bytes": int, "sha256": str}


def _entry(found: Any) -> Entry:
    objective = found["objective"]
    plain = {name: _checked(found[name], kind) for name, kind in _ENTRY.items()}
    if not SNAPSHOT.fullmatch(plain["name"]):
        raise ValueError(f"no snapshot has the name {plain['name'][:40]!r}")
    return Entry(**plain, objective=None if objective is None else _checked(float(objective), float))


def _checked(value: Any, kind: type) -> Any:
    if type(value) is not kind or (isinstance(value, float) and not isfinite(value)):
        raise ValueError(f"expected {kind.__name__}, found {str(value)[:40]!r}")
    return value
