"""File formats by ending, and saving and loading the parameters of a net."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mocha_core.errors import ConfigurationError, FileError, ShapeError, UnknownNameError
from mocha_core.plugins import registries

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mocha_core.net import Net
    from mocha_core.parameter import State
    from mocha_core.snapshot import Snapshot


class Format(ABC):
    """Reads and writes files of one kind. Writing is all or nothing: a file is never half there."""

    @abstractmethod
    def save_network(self, path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Write arrays under flat names such as `conv1___filter`."""

    @abstractmethod
    def load_network(self, path: Path) -> dict[str, NDArray[Any]]:
        """The arrays of a file by name.

        Raises:
            FileError: the file is missing, broken, or holds something else.
        """

    @abstractmethod
    def save_snapshot(self, path: Path, snapshot: Snapshot) -> None:
        """Write everything an exact resume needs; the same snapshot gives the same bytes."""

    @abstractmethod
    def load_snapshot(self, path: Path) -> Snapshot:
        """What `save_snapshot` wrote.

        Raises:
            SnapshotError: the file is missing, incomplete or damaged.
        """


def format_of(path: str | PathLike[str]) -> Format:
    """The format registered for the path's ending."""
    if not isinstance(path, str | PathLike):
        raise ConfigurationError(f"Expected a path such as 'net.hdf5', received {path!r}.")
    formats = registries().formats
    ending = Path(path).suffix.lower()
    if ending not in formats.names():
        known = ", ".join(formats.names()) or "none; install mocha-hdf5"
        raise UnknownNameError(f"No format for '{path}': the ending '{ending}' is unknown. Known: {known}.")
    found: Format = formats.get(ending)()
    return found


def save_network(path: str | PathLike[str], net: Net) -> None:
    """Write a net's parameters and states; the ending of `path` chooses the format.

    Raises:
        FileError: the file cannot be written.
    """
    format_of(path).save_network(Path(path), {key: state.numpy() for key, state in net.states.items()})


def load_network(path: str | PathLike[str], net: Net, strict: bool = True) -> None:
    """Overwrite a net's parameters with those of a file; names and shapes are checked before any is written.

    Names with two underscores are read too, and shapes that differ by leading or trailing axes of size one.
    A missing bias keeps its contents, with a warning.

    Args:
        path: the file.
        net: the net; parameters in the file that it does not have are ignored.
        strict: without, every missing parameter keeps its contents, with a warning.

    Raises:
        FileError: the file is missing, broken, or lacks a parameter.
        ShapeError: a parameter has another shape.
    """
    arrays = format_of(path).load_network(path := Path(path))
    found: dict[str, NDArray[Any]] = {}
    for key, state in net.states.items():
        array = arrays.get(key, arrays.get(f"{state.layer}__{state.name}"))
        if array is None:
            if strict and state.name != "bias":
                raise FileError(
                    f"'{path}' has no parameter '{key}' for net '{net.name}'; it has "
                    f"{', '.join(sorted(arrays)) or 'none'}. Use load_network(..., strict=False) to keep its "
                    "present contents."
                )
            warnings.warn(f"No {state.name} found for {state.layer}, use default initialization", stacklevel=2)
        else:
            found[key] = _fit(path, array, state)
    for key, array in found.items():
        net.states[key].set(array)


def _fit(path: Path, array: NDArray[Any], state: State) -> NDArray[Any]:
    if _strip(array.shape) != _strip(state.value.shape):
        raise ShapeError(
            f"'{path}', parameter '{state.key}': expected shape {state.value.shape}, received {array.shape}. The "
            "file is from another net, or the layer's sizes changed."
        )
    return array.reshape(state.value.shape)


def _strip(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape without the axes of size one at both ends."""
    kept = [axis for axis, size in enumerate(shape) if size != 1]
    return shape[kept[0] : kept[-1] + 1] if kept else ()
