"""File formats by ending, and saving and loading the parameters of a net."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mocha_core import checks
from mocha_core.errors import ConfigurationError, FileError, ShapeError, UnknownNameError
from mocha_core.host.files import expanded
from mocha_core.net.net import Net
from mocha_core.plugin.frozen import without_metadata
from mocha_core.plugin.manager import registries

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mocha_core.describe.parameter import State
    from mocha_core.train.snapshot import SavedRun, StoredArray

#: The most names that an error lists.
SHOWN = 20


class Format(ABC):
    """Reads and writes files of one kind. Writing is all or nothing: a file is never half there.

    The arrays of an open file may be read late (see `StoredArray`), so that names and shapes are checked first, and
    unused arrays are never read. They are used inside the `with` only.
    """

    @abstractmethod
    def save_network(self, path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Write arrays under flat names such as `conv1___filter`."""

    @abstractmethod
    def open_network(self, path: Path) -> AbstractContextManager[Mapping[str, StoredArray]]:
        """The arrays of a file by name.

        Raises:
            FileError: the file is missing, broken, or of another kind. Looking up or reading an array may raise it,
                too.
        """

    @abstractmethod
    def save_snapshot(self, path: Path, run: SavedRun) -> None:
        """Write a snapshot: everything an exact resume needs. The same run gives the same bytes."""

    @abstractmethod
    def open_snapshot(self, path: Path) -> AbstractContextManager[SavedRun]:
        """The run that `save_snapshot` wrote.

        Raises:
            SnapshotError: the file is missing, incomplete or damaged.
            FileError: it cannot be read. Looking up or reading an array may raise this, too.
        """


def format_of(path: str | PathLike[str]) -> Format:
    """The format registered for the path's ending."""
    if not isinstance(path, str | PathLike):
        raise ConfigurationError(f"Expected a path such as 'net.hdf5', received {checks.shown(path)}.")
    formats = registries().formats
    ending = Path(path).suffix.lower()
    if ending not in formats.names():
        known = ", ".join(formats.names()) or without_metadata() or "none; install mocha-hdf5"
        name, ending = checks.clipped(path, 300), checks.clipped(ending)
        raise UnknownNameError(f"No format for '{name}': the ending '{ending}' is unknown. Known: {known}.")
    found: Format = formats.get(ending)()
    return found


def save_network(path: str | PathLike[str], net: Net) -> None:
    """Write a net's parameters and states; the ending of `path` chooses the format.

    Per-row states are not written: they belong to a run, and its snapshots hold them.

    Raises:
        FileError: the file cannot be written.
    """
    file_format, path = format_of(path), expanded(path)
    checks.instance("save_network", "net", net, Net, "mocha.Net('train', system, layers)")
    arrays = {key: array for key, array in net.states.copy().items() if not net.states[key].per_row}
    file_format.save_network(path, arrays)


def load_network(path: str | PathLike[str], net: Net, strict: bool = True) -> None:
    """Overwrite a net's parameters with those of a file; all are checked and read before any is written.

    Names with two underscores are read too, and shapes that differ by leading or trailing axes of size one.
    A missing bias keeps its contents, with a warning.

    Args:
        path: the file; `~` is the home folder.
        net: the net; parameters in the file that it does not have are ignored.
        strict: if False, missing parameters keep their contents, with a warning. At least one must be in the file,
            and those in the file must fit.

    Raises:
        FileError: the file is missing, broken, or lacks a parameter.
        ShapeError: a parameter has another shape.
    """
    file_format, path = format_of(path), expanded(path)
    checks.instance("load_network", "net", net, Net, "mocha.Net('train', system, layers)")
    checks.instance("load_network", "strict", strict, bool, "True")
    with file_format.open_network(path) as arrays:
        found = {key: _find(path, arrays, state) for key, state in net.states.items() if not state.per_row}
        if found and all(stored is None for stored in found.values()):
            raise FileError(
                f"'{path}' has no parameter of net '{net.name}', so all would keep their present contents. The "
                f"net has {_listed(net.states)}; the file has {_listed(arrays)}. Name the layers as in the file."
            )
        for key, stored in found.items():
            if stored is None:
                _check_may_miss(path, arrays, net.states[key], net, strict)
        contents = {
            key: checks.castable(f"'{path}', parameter '{key}'", stored, net.states[key].value.dtype)
            for key, stored in found.items()
            if stored is not None
        }
        with net.system.storage.gate.exclusive():
            for key, array in contents.items():
                net.states[key].set(array.reshape(net.states[key].value.shape))


def _find(path: Path, arrays: Mapping[str, StoredArray], state: State) -> StoredArray | None:
    """The array for a state, of a fitting shape and not read yet; None if there is none."""
    for key in (state.key, f"{state.layer}__{state.name}"):
        if (stored := arrays.get(key)) is not None:
            if _strip(stored.shape) != _strip(state.value.shape):
                raise ShapeError(
                    f"'{path}', parameter '{state.key}' of layer '{state.layer}': expected shape {state.value.shape}, "
                    f"received {stored.shape}. Give the layer the sizes of the file. To train a layer of other sizes "
                    f"from the start, rename it, such as to '{state.layer}-new', and use load_network(..., "
                    "strict=False), which loads the others."
                )
            return stored
    return None


def _check_may_miss(path: Path, arrays: Mapping[str, StoredArray], state: State, net: Net, strict: bool) -> None:
    """Warn that a parameter keeps its contents, or raise if it must be loaded."""
    if strict and state.name != "bias":
        raise FileError(
            f"'{path}' has no parameter '{state.key}' for net '{net.name}'; it has {_listed(arrays)}. Name layer "
            f"'{state.layer}' as in the file, or use load_network(..., strict=False) to keep its present contents."
        )
    warnings.warn(f"No {state.name} found for {state.layer}, use default initialization", stacklevel=3)


def _listed(names: Iterable[str]) -> str:
    """The first names, in order."""
    shown = sorted(names)
    rest = f" and {len(shown) - SHOWN} more" if len(shown) > SHOWN else ""
    return (", ".join(shown[:SHOWN]) or "none") + rest


def _strip(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape without the axes of size one at both ends."""
    kept = [axis for axis, size in enumerate(shape) if size != 1]
    return shape[kept[0] : kept[-1] + 1] if kept else ()
