"""`Reader`: the only place that opens HDF5 files for reading."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import h5py  # type: ignore[import-untyped]

from mocha_core.errors import FileError, MochaError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SIGNATURE = b"\x89HDF\r\n\x1a\n"
#: Bytes of decompressed chunks that HDF5 keeps for each dataset.
CHUNK_CACHE = 32 * 2**20
#: More than any filter of HDF5 compresses; deflate reaches 1032.
HIGHEST_RATIO = 1100


class Reader:
    """An HDF5 file opened for reading: numeric datasets that are inside the file, and nothing else.

    Args:
        path: the file.

    Raises:
        FileError: the file is missing, no HDF5 file, or damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with _failures(path, "cannot be opened"):
            _check_signature(path)
            self._file = h5py.File(path, "r", rdcc_nbytes=CHUNK_CACHE)

    def names(self) -> list[str]:
        """The numeric datasets, those in groups as `group/name`."""
        found = []

        def visit(name: str, item: Any) -> None:
            if isinstance(item, h5py.Dataset) and _numeric(item.dtype):
                found.append(name)

        with _failures(self.path, "cannot be listed"):
            self._file.visititems(visit)
        return found

    def table(self, name: str) -> Table:
        """A dataset.

        Raises:
            FileError: there is none of this name, or it is not numeric, or not in this file.
        """
        with _failures(self.path, f"dataset '{name}' cannot be opened"):
            item = self._inside(name)
            if not isinstance(item, h5py.Dataset):
                raise FileError(f"'{self.path}' has no dataset '{name}'. It has: {', '.join(self.names()) or 'none'}.")
            return Table(self.path, name, item)

    def _inside(self, name: str) -> Any:
        """The object of that path, unless a soft or external link is on the way."""
        item = self._file
        for part in name.split("/"):
            if not isinstance(item, h5py.Group) or not isinstance(item.get(part, getlink=True), h5py.HardLink):
                return None
            item = item[part]
        return item

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The contents of all numeric datasets by name."""
        return {name: self.table(name).read() for name in self.names()}

    def close(self) -> None:
        """Close the file; its tables cannot be read any more."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Table:
    """A numeric dataset of an open file.

    Attributes:
        shape: its axes, samples first.
        dtype: of its elements.
        nbytes: of the contents in memory.
        chunk_bytes: of one chunk in memory; 0 if the dataset is stored in one piece.
    """

    def __init__(self, path: Path, name: str, dataset: Any) -> None:
        self.path = path
        self.where = f"dataset '{name}'"
        self.shape: tuple[int, ...] = dataset.shape or ()
        self.dtype: np.dtype[Any] = dataset.dtype
        self.nbytes = prod(self.shape) * self.dtype.itemsize
        self.chunk_bytes = prod(dataset.chunks) * self.dtype.itemsize if dataset.chunks else 0
        self._dataset = dataset
        self._descriptor: int = dataset.file.id.get_vfd_handle()
        self._file_bytes = os.fstat(self._descriptor).st_size
        if dataset.shape is None or not _numeric(dataset.dtype):
            raise self._refused(f"expected integers or floating-point numbers, found {dataset.dtype}")
        if dataset.is_virtual or dataset.external:
            raise self._refused("its contents are in other files, and only what is inside a file is read")
        stored = dataset.id.get_storage_size()
        if self.nbytes > stored * (HIGHEST_RATIO if self.chunk_bytes else 1):
            raise self._refused(f"{self.dtype}{list(self.shape)} takes {self.nbytes} bytes, the file holds {stored}")

    def _refused(self, reason: str) -> FileError:
        return FileError(f"'{self.path}', {self.where}: {reason}. Write the dataset again, as plain numbers.")

    def read(self, start: int = 0, stop: int | None = None) -> NDArray[Any]:
        """Rows from `start` to before `stop`, or all.

        Raises:
            FileError: the file is damaged, or needs a filter that is not installed.
        """
        with _failures(self.path, f"{self.where} cannot be read"):
            rows: NDArray[Any] = self._dataset[start:stop] if self.shape else self._dataset[()]
        if os.fstat(self._descriptor).st_size < self._file_bytes:  # HDF5 reads zeros where the file has ended
            raise self._refused("the file became shorter while it was in use")
        return rows


def _numeric(dtype: np.dtype[Any]) -> bool:
    return dtype.kind in "fiu"


def _check_signature(path: Path) -> None:
    """HDF5 looks for its signature at 0, 512, 1024, 2048, ..."""
    with open(path, "rb") as file:
        size, offset = path.stat().st_size, 0
        while offset < size:
            file.seek(offset)
            if file.read(len(SIGNATURE)) == SIGNATURE:
                return
            offset = max(512, offset * 2)
    raise FileError(f"'{path}' is not an HDF5 file.")


@contextmanager
def _failures(path: Path, what: str) -> Iterator[None]:
    try:
        yield
    except MochaError:
        raise
    except FileNotFoundError as error:
        raise FileError(f"'{path}' does not exist.") from error
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, MemoryError) as error:
        raise FileError(
            f"'{path}': {what}: {error}. The file is damaged, or of a kind that the HDF5 library here does not read."
        ) from error
