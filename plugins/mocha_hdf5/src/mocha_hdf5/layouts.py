"""How a dataset lies in its file: in one piece, in the header, or in chunks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable
from itertools import product
from math import prod
from typing import TYPE_CHECKING, Any

import h5py  # type: ignore[import-untyped]
import numpy as np

from mocha_core.errors import FileError
from mocha_hdf5 import filters
from mocha_hdf5.contents import Contents

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Bytes of decompressed chunks that are kept for each dataset.
CHUNK_CACHE = 32 * 2**20
#: A chunk may take so many bytes in memory, or `MODERATE_RATIO` times what it takes in the file.
LARGE_CHUNK = 16 * 2**20
#: More than most numbers compress. What compresses better is read, but not kept in memory as a whole.
MODERATE_RATIO = 64
#: More than any filter here compresses; deflate reaches 1032.
HIGHEST_RATIO = 1100

Refused = Callable[[str], FileError]


class Layout(ABC):
    """Rows of a dataset. `shape` is not empty: a scalar is one row."""

    #: Bytes in memory of the chunks that share rows; 0 without chunks.
    band_bytes = 0
    #: Bytes in the file, at most.
    stored: int

    @abstractmethod
    def read(self, start: int, stop: int) -> NDArray[Any]:
        """Rows from `start` to before `stop`; perhaps a view of what is kept here."""


class Contiguous(Layout):
    """In one piece, at an offset."""

    def __init__(
        self, contents: Contents, dataset: Any, shape: tuple[int, ...], dtype: np.dtype[Any], refused: Refused
    ) -> None:
        self._contents, self._dtype, self._shape = contents, dtype, shape
        self._row = prod(shape[1:]) * dtype.itemsize
        self.stored = shape[0] * self._row
        # Without storage the library's offset means nothing, and behind a user block it even looks like one.
        offset = dataset.get_offset() if self.stored and dataset.get_storage_size() else None
        if self.stored and (offset is None or offset + self.stored > contents.size):
            held = 0 if offset is None else max(0, contents.size - offset)
            raise refused(f"{dtype}{list(shape)} takes {self.stored} bytes, the file holds {held}")
        self._offset = offset or 0

    def read(self, start: int, stop: int) -> NDArray[Any]:
        data = self._contents.read(self._offset + start * self._row, (stop - start) * self._row)
        return np.frombuffer(data, self._dtype).reshape(stop - start, *self._shape[1:])


class Compact(Layout):
    """In the header: at most 64 KiB, which the HDF5 library has read with it."""

    def __init__(self, dataset: Any, shape: tuple[int, ...], dtype: np.dtype[Any], refused: Refused) -> None:
        self.stored = dataset.get_storage_size()
        if prod(shape) * dtype.itemsize != self.stored or self.stored > 2**16:
            raise refused(
                f"{dtype}{list(shape)} takes {prod(shape) * dtype.itemsize} bytes, the file holds {self.stored}"
            )
        self._rows = np.empty(shape, dtype)
        if self.stored:
            dataset.read(h5py.h5s.ALL, h5py.h5s.ALL, self._rows)

    def read(self, start: int, stop: int) -> NDArray[Any]:
        return self._rows[start:stop]


class Chunked(Layout):
    """In chunks of one size, which may have gone through filters.

    The HDF5 library looks chunks up one by one, and is never asked to go through all of them: an index that leads
    to the same place a million times would keep it busy for hours.
    """

    def __init__(
        self, contents: Contents, dataset: Any, shape: tuple[int, ...], dtype: np.dtype[Any], refused: Refused
    ) -> None:
        self._dataset, self._shape, self._dtype, self._refused = dataset, shape, dtype, refused
        properties = dataset.get_create_plist()
        self._chunk: tuple[int, ...] = tuple(properties.get_chunk())
        if len(self._chunk) != len(shape) or 0 in self._chunk:
            raise refused(f"chunks of {list(self._chunk)} do not make up {list(shape)}")
        self._nbytes = prod(self._chunk) * dtype.itemsize
        self._filters = _filters(properties, dtype, refused)
        self._columns = tuple(-(-size // chunk) for size, chunk in zip(shape[1:], self._chunk[1:], strict=True))
        self.band_bytes = self._nbytes * prod(self._columns)
        self.stored = contents.size
        nbytes = prod(shape) * dtype.itemsize
        if nbytes > contents.size * (HIGHEST_RATIO if self._filters else 1):
            raise refused(f"{dtype}{list(shape)} takes {nbytes} bytes, the whole file has {contents.size}")
        if self._nbytes > max(LARGE_CHUNK, MODERATE_RATIO * contents.size):
            raise refused(f"a chunk takes {self._nbytes} bytes, the whole file has {contents.size}")
        self._bands: OrderedDict[int, NDArray[Any]] = OrderedDict()

    def read(self, start: int, stop: int) -> NDArray[Any]:
        if self.band_bytes > CHUNK_CACHE:
            return self._unpack(start, stop)
        height = self._chunk[0]
        numbers = range(start // height, -(-stop // height))
        pieces = [self._band(n)[max(0, start - n * height) : stop - n * height] for n in numbers]
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    def _band(self, number: int) -> NDArray[Any]:
        """The rows of the chunks that share rows, kept for the next minibatch."""
        if (kept := self._bands.get(number)) is not None:
            self._bands.move_to_end(number)
            return kept
        while self._bands and (len(self._bands) + 1) * self.band_bytes > CHUNK_CACHE:
            self._bands.popitem(last=False)
        top = number * self._chunk[0]
        band = self._bands[number] = self._unpack(top, min(top + self._chunk[0], self._shape[0]))
        return band

    def _unpack(self, start: int, stop: int) -> NDArray[Any]:
        height = self._chunk[0]
        out = np.empty((stop - start, *self._shape[1:]), self._dtype)
        for position in product(range(start // height, -(-stop // height)), *map(range, self._columns)):
            corner = tuple(at * size for at, size in zip(position, self._chunk, strict=True))
            top, bottom = max(corner[0], start), min(corner[0] + height, stop)
            columns = (slice(at, at + size) for at, size in zip(corner[1:], self._chunk[1:], strict=True))
            place = out[(slice(top - start, bottom - start), *columns)]
            inside = (slice(size) for size in place.shape[1:])
            place[...] = self._load(corner)[(slice(top - corner[0], bottom - corner[0]), *inside)]
        return out

    def _load(self, corner: tuple[int, ...]) -> NDArray[Any]:
        try:
            mask, raw = self._dataset.read_direct_chunk(corner)
        except (OSError, RuntimeError, ValueError) as error:
            raise self._refused(
                f"the chunk at {list(corner)} is not in the file ({error}): it was never written, and fill "
                "values are not read"
            ) from error
        if self._nbytes > max(LARGE_CHUNK, MODERATE_RATIO * len(raw)):
            raise self._refused(
                f"the chunk at {list(corner)} takes {self._nbytes} bytes, and {len(raw)} in the file; chunks are to be "
                "smaller"
            )
        applied = [code for bit, code in enumerate(self._filters) if not mask >> bit & 1]
        try:
            data = filters.decode(memoryview(raw), applied, self._nbytes, self._dtype.itemsize)
        except filters.DamagedChunk as error:
            raise self._refused(
                f"expected {self._nbytes} bytes in the chunk at {list(corner)}, found {error}"
            ) from error
        return np.frombuffer(data, self._dtype).reshape(self._chunk)


def _filters(properties: Any, dtype: np.dtype[Any], refused: Refused) -> list[int]:
    found = []
    for number in range(properties.get_nfilters()):
        code, _, values, name = properties.get_filter(number)
        if code not in filters.KNOWN:
            raise refused(
                f"expected no filters but {', '.join(filters.KNOWN.values())}, found {name.decode(errors='replace')!r} "
                f"({code})"
            )
        if code == filters.SHUFFLE and values[:1] != (dtype.itemsize,):
            raise refused(f"expected shuffle for elements of {dtype.itemsize} bytes, found {values}")
        found.append(code)
    if len(found) > 32 or sum(code in (filters.DEFLATE, filters.LZF) for code in found) > 1:
        raise refused("expected one compressor at most, found more")
    return found
