"""`Chunked`: a dataset in chunks of one size, with or without filters."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import prod
from typing import TYPE_CHECKING, Any

import h5py  # type: ignore[import-untyped]
import numpy as np

from mocha_core.api import FileError
from mocha_hdf5 import bands, filters
from mocha_hdf5.chunk_index import ChunkIndex
from mocha_hdf5.contents import Contents, Stream
from mocha_hdf5.filters import Stored
from mocha_hdf5.layouts import Layout, Refused, check_declared
from mocha_hdf5.scratch import Refused as RefusedByLibrary
from mocha_hdf5.scratch import TypedFilter

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Chunks are read and decoded together, up to this many bytes at a time.
TOGETHER = 2**20
#: The number of bytes that a chunk may take in the file beyond those in memory.
BEYOND = 64
#: Where the library may undo the filters, it is faster for chunks of more than this many bytes.
SMALLEST_BY_LIBRARY = 2**14
#: A chunk may take this many bytes in memory, or `MODERATE_RATIO` times its bytes in the file.
LARGE_CHUNK = 16 * 2**20
#: A chunk may also take up to this many bytes if the whole dataset takes as many.
LARGEST_CHUNK = 2**30
#: Most numbers compress by less than this ratio.
MODERATE_RATIO = 64
#: No filter here compresses by more, except chunks of one value; deflate reaches 1032.
HIGHEST_RATIO = 1100


class Chunked(Layout):
    """Rows of chunks; where a chunk was never written, the fill value stands."""

    def __init__(
        self,
        contents: Contents,
        stream: Stream,
        dataset: Any,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        fill: NDArray[Any] | None,
        kept: bands.Bands,
        key: str,
        refused: Refused,
    ) -> None:
        self._shape, self._dtype, self._fill_value, self._kept, self._key = shape, dtype, fill, kept, key
        self._refused = refused
        properties = dataset.get_create_plist()
        self._chunk: tuple[int, ...] = tuple(properties.get_chunk())
        if len(self._chunk) != len(shape) or 0 in self._chunk:
            raise refused(f"chunks of {list(self._chunk)} do not make up {list(shape)}")
        self._nbytes = prod(self._chunk) * dtype.itemsize
        self._declared = prod(shape) * dtype.itemsize
        self._grid = tuple(-(-size // chunk) for size, chunk in zip(shape, self._chunk, strict=True))
        self.band_bytes = self._nbytes * prod(self._grid[1:])
        self._whole = self._chunk[1:] == shape[1:]
        self.stored = contents.size
        codes = _filters(properties, dtype, refused)
        check_declared(shape, dtype, contents.size * (HIGHEST_RATIO if codes else 1), refused)
        self._check_affordable(contents.size, "a chunk")
        found = {code for code, _ in codes}
        # The library may undo filters that make nothing larger.
        bounded = bool(codes) and found <= {filters.SHUFFLE, filters.FLETCHER32}
        self._dataset = dataset if bounded and self._nbytes > SMALLEST_BY_LIBRARY else None
        self._decoder = self._make_decoder(dataset.get_type(), codes) if codes else None
        self._index = ChunkIndex(contents, stream, dataset, self._chunk, self._grid)

    def _make_decoder(self, stored: Any, codes: Sequence[tuple[int, tuple[int, ...]]]) -> filters.Decoder:
        typed, (code, values) = None, codes[0]
        if code in filters.TYPED:
            try:
                typed = TypedFilter(stored, self._chunk, code, values, self._fill_value)
            except RefusedByLibrary as error:
                raise self._refused(f"its {filters.KNOWN[code]} filter cannot be undone ({error})") from error
        return filters.Decoder([code for code, _ in codes], self._nbytes, self._dtype.itemsize, typed)

    def _check_affordable(self, held: int, which: str) -> None:
        """Raise if a chunk takes absurdly much memory, given its bytes in the file."""
        wanted = self._nbytes <= min(LARGEST_CHUNK, 2 * self._declared)
        if not wanted and self._nbytes > max(LARGE_CHUNK, MODERATE_RATIO * held):
            raise self._refused(
                f"{which} takes {self._nbytes} bytes in memory, {held} at most in the file, and the whole dataset "
                f"{self._declared}; chunks are to be smaller"
            )

    def release_library(self) -> bool:
        if not self._index.list_all():
            return False
        self._dataset = None
        if self._decoder is not None:
            self._decoder.release()
        return True

    def read(self, start: int, stop: int) -> NDArray[Any]:
        height = self._chunk[0]
        rows = range(start // height, -(-stop // height))
        # Many rows of small chunks come at once: what is read again next time is the last row of them.
        if self.band_bytes > bands.CHUNK_CACHE or len(rows) > (2 if self._decoder is None else 8):
            return self._unpack(rows)[start - rows.start * height : stop - rows.start * height]
        self._unpack_missing(rows)
        pieces = [self._band(n)[max(0, start - n * height) : stop - n * height] for n in rows]
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    def read_into(self, out: NDArray[Any], start: int) -> None:
        """Chunks of whole rows are decoded where their rows are wanted, or beside if these are of another dtype."""
        height, stop = self._chunk[0], start + len(out)
        rows = range(-(-start // height), stop // height)
        if not (self._whole and rows):
            super().read_into(out, start)
            return
        first, last = rows.start * height, rows.stop * height
        places = out[first - start : last - start]
        in_place = out.dtype == self._dtype and out.flags.c_contiguous
        room = places if in_place else np.empty(places.shape, self._dtype)
        if not self._read_by_library(room, first):
            self._fill(rows, room.reshape(len(rows), *self._grid[1:], *self._chunk))
        if not in_place:
            places[...] = room
        for edge, at in ((out[: first - start], start), (out[last - start :], last)):
            if len(edge):
                super().read_into(edge, at)

    def _unpack_missing(self, rows: range) -> None:
        """Keep these rows of chunks, if there are several that are not kept and can be decoded together."""
        missing = [n for n in rows if (self._key, n) not in self._kept]
        if len(missing) < 2 or self._nbytes > TOGETHER or len(rows) * self.band_bytes > bands.CHUNK_CACHE:
            return
        found, height = self._unpack(range(missing[0], missing[-1] + 1)), self._chunk[0]
        for n in missing:
            band = found[(n - missing[0]) * height :][:height]
            self._kept.get((self._key, n), self.band_bytes, band.copy)

    def _band(self, number: int) -> NDArray[Any]:
        """The rows of the chunks that share rows, kept for the next minibatch."""
        return self._kept.get((self._key, number), self.band_bytes, lambda: self._unpack(range(number, number + 1)))

    def _unpack(self, rows: range) -> NDArray[Any]:
        """These rows of chunks."""
        if self._dataset is not None:
            start, stop = rows.start * self._chunk[0], min(rows.stop * self._chunk[0], self._shape[0])
            found = np.empty((stop - start, *self._shape[1:]), self._dtype)
            if self._read_by_library(found, start):
                return found
        inside = (slice(self._shape[0] - rows.start * self._chunk[0]), *map(slice, self._shape[1:]))
        if len(rows) == prod(self._grid[1:]) == 1 and self._nbytes > LARGE_CHUNK:
            chunk = self._contents((rows.start, *[0] * (len(self._shape) - 1)), next(self._index.read(rows)))
            return np.broadcast_to(chunk, self._chunk)[inside]
        out, view = self._padded(len(rows))
        self._fill(rows, view)
        return out[inside]

    def _fill(self, rows: range, view: NDArray[Any]) -> None:
        """Fill a view, whose first axes are the chunks' numbers, with these rows of chunks."""
        taken = prod(self._grid[1:]) * (self._nbytes + BEYOND)
        step = max(1, TOGETHER // taken)
        for start in range(rows.start, rows.stop, step):
            part = range(start, min(start + step, rows.stop))
            place = view[start - rows.start :][: len(part)]
            if taken > LARGE_CHUNK or not self._fill_together(part, place):
                self._fill_one_by_one(part, place)

    def _fill_together(self, rows: range, view: NDArray[Any]) -> bool:
        """Read and decode these rows of chunks together.

        Returns:
            False if that is not possible, or a chunk is damaged. Doing it one by one finds which.
        """
        contents = view if self._whole else np.empty(view.shape, self._dtype)
        out = contents.reshape(-1).view(np.uint8)
        if self._decoder is None:
            if not self._index.read_into(rows, self._nbytes, out):
                return False
        else:
            found = self._index.gather(rows, self._decoder.largest)
            if found is None or not self._decoder.decode_all(*found, out.reshape(-1, self._nbytes)):
                return False
        if contents is not view:
            view[...] = contents
        return True

    def _fill_one_by_one(self, rows: range, view: NDArray[Any]) -> None:
        places = product(range(len(rows)), *map(range, self._grid[1:]))
        for place, stored in zip(places, self._index.read(rows), strict=True):
            view[place] = self._contents((rows.start + place[0], *place[1:]), stored)

    def _contents(self, position: tuple[int, ...], stored: Stored | None) -> NDArray[Any]:
        """A chunk."""
        if stored is not None:
            return np.frombuffer(self._decode(position, stored), self._dtype).reshape(self._chunk)
        if self._fill_value is None:
            raise self._refused(f"{self._named(position)} was never written, and no fill value is defined")
        return self._fill_value

    def _padded(self, n: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """Room for n rows of chunks, and a view of it whose first axes are the chunks' numbers."""
        axes = list(zip((n, *self._grid[1:]), self._chunk, strict=True))
        out = np.empty([count * size for count, size in axes], self._dtype)
        parts = out.reshape([size for axis in axes for size in axis])
        return out, parts.transpose(*range(0, 2 * len(axes), 2), *range(1, 2 * len(axes), 2))

    def _read_by_library(self, out: NDArray[Any], start: int) -> bool:
        """Fill `out`, of the dtype of the file, with rows, if no filter makes them larger; whether the library did."""
        if self._dataset is None:
            return False
        space = self._dataset.get_space()
        space.select_hyperslab((start, *[0] * (len(out.shape) - 1)), out.shape)
        try:
            self._dataset.read(h5py.h5s.create_simple(out.shape), space, out, self._dataset.get_type())
        except (OSError, RuntimeError, ValueError):
            return False  # reading chunk by chunk names the chunk
        return True

    def _decode(self, position: tuple[int, ...], stored: Stored) -> memoryview:
        if self._nbytes > LARGE_CHUNK:
            self._check_affordable(len(stored.raw), self._named(position))
        if self._decoder is None:
            if len(stored.raw) != self._nbytes:
                raise self._damaged(position, f"{len(stored.raw)} bytes")
            return stored.raw
        try:
            return self._decoder.decode(stored)
        except filters.DamagedChunk as error:
            raise self._damaged(position, str(error)) from error

    def _damaged(self, position: tuple[int, ...], found: str) -> FileError:
        return self._refused(f"expected {self._nbytes} bytes in {self._named(position)}, found {found}")

    def _named(self, position: tuple[int, ...]) -> str:
        return f"the chunk at {[at * size for at, size in zip(position, self._chunk, strict=True)]}"


def _filters(properties: Any, dtype: np.dtype[Any], refused: Refused) -> list[tuple[int, tuple[int, ...]]]:
    found: list[tuple[int, tuple[int, ...]]] = []
    for number in range(properties.get_nfilters()):
        code, _, values, name = properties.get_filter(number)
        if code not in filters.KNOWN:
            raise refused(
                f"expected no filters but {', '.join(filters.KNOWN.values())}, found {name.decode(errors='replace')!r} "
                f"({code})"
            )
        if not h5py.h5z.filter_avail(code):
            raise refused(f"it is compressed with {filters.KNOWN[code]}, which the HDF5 library here lacks")
        if code in filters.TYPED and number:
            raise refused(f"expected {filters.KNOWN[code]} as the first filter, found it as number {number + 1}")
        if code == filters.SHUFFLE and values[:1] != (dtype.itemsize,):
            raise refused(f"expected shuffle for elements of {dtype.itemsize} bytes, found {values}")
        found.append((code, tuple(values)))
    if len(found) > 32 or sum(code in filters.COMPRESSORS for code, _ in found) > 1:
        raise refused("expected one compressor at most, found more")
    return found
