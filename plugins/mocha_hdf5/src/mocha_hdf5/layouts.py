"""The layouts of a dataset in its file: in one piece, in the header, without storage, or in chunks (`chunks.py`)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from math import prod
from typing import TYPE_CHECKING, Any

import h5py  # type: ignore[import-untyped]
import numpy as np

from mocha_core.api import FileError
from mocha_hdf5.contents import Contents

if TYPE_CHECKING:
    from numpy.typing import NDArray

Refused = Callable[[str], FileError]
#: The maximum of bytes and rows of a dataset that takes little space in the file, because it was never written or all
#: elements are equal. There is a limit because a net counts rows in memory.
MOST_BYTES, MOST_ROWS = 2**40, 2**26


class Layout(ABC):
    """Rows of a dataset. `shape` is not empty: a scalar is one row."""

    #: The number of bytes in memory of the chunks that share rows; 0 without chunks.
    band_bytes = 0
    #: The maximum number of bytes in the file.
    stored: int

    @abstractmethod
    def read(self, start: int, stop: int) -> NDArray[Any]:
        """Rows from `start` to before `stop`. The result may be a view of kept memory."""

    def read_into(self, out: NDArray[Any], start: int) -> None:
        """Fill `out` with the rows from `start`, as numbers of its dtype."""
        out[...] = self.read(start, start + len(out))

    def release_library(self) -> bool:
        """Whether rows can now be read without the HDF5 library."""
        return True


class Contiguous(Layout):
    """A dataset in one piece, at an offset."""

    def __init__(
        self, contents: Contents, dataset: Any, shape: tuple[int, ...], dtype: np.dtype[Any], refused: Refused
    ) -> None:
        self._contents, self._dtype, self._shape = contents, dtype, shape
        self._row = prod(shape[1:]) * dtype.itemsize
        self.stored = shape[0] * self._row
        offset = dataset.get_offset()
        if offset is None or offset + self.stored > contents.size:
            held = 0 if offset is None else max(0, contents.size - offset)
            raise refused(f"{dtype}{list(shape)} takes {self.stored} bytes, the file holds {held}")
        self._offset = offset

    def read(self, start: int, stop: int) -> NDArray[Any]:
        data = self._contents.read(self._offset + start * self._row, (stop - start) * self._row)
        return np.frombuffer(data, self._dtype).reshape(stop - start, *self._shape[1:])

    def read_into(self, out: NDArray[Any], start: int) -> None:
        if out.dtype == self._dtype and out.flags.c_contiguous:
            self._contents.read_into(out.reshape(-1).view(np.uint8).data, self._offset + start * self._row)
        else:
            super().read_into(out, start)


class Compact(Layout):
    """A dataset in the header: at most 64 KiB, which the HDF5 library has read with the header."""

    def __init__(
        self, dataset: Any, stored: Any, shape: tuple[int, ...], dtype: np.dtype[Any], refused: Refused
    ) -> None:
        self.stored = dataset.get_storage_size()
        if prod(shape) * dtype.itemsize != self.stored or self.stored > 2**16:
            raise refused(
                f"{dtype}{list(shape)} takes {prod(shape) * dtype.itemsize} bytes, the file holds {self.stored}"
            )
        self._rows = np.empty(shape, dtype)
        dataset.read(h5py.h5s.ALL, h5py.h5s.ALL, self._rows, stored)

    def read(self, start: int, stop: int) -> NDArray[Any]:
        return self._rows[start:stop]


class Unwritten(Layout):
    """A dataset without storage: all elements are the fill value."""

    stored = 0

    def __init__(
        self, shape: tuple[int, ...], dtype: np.dtype[Any], fill: NDArray[Any] | None, refused: Refused
    ) -> None:
        check_declared(shape, dtype, 0, refused)
        if fill is None and 0 not in shape:
            raise refused("it was never written, and no fill value is defined")
        self._rows = np.broadcast_to(np.zeros((), dtype) if fill is None else fill, shape)

    def read(self, start: int, stop: int) -> NDArray[Any]:
        return self._rows[start:stop]


def check_declared(shape: tuple[int, ...], dtype: np.dtype[Any], held: int, refused: Refused) -> None:
    """Raise unless the file holds this many bytes, or the number is below the limit."""
    nbytes = prod(shape) * dtype.itemsize
    if nbytes > held and (nbytes > MOST_BYTES or shape[0] > MOST_ROWS):
        raise refused(
            f"{dtype}{list(shape)} takes {nbytes} bytes, the file holds at most {held}; what is not in the file may "
            f"take {MOST_BYTES} bytes in {MOST_ROWS} rows"
        )
