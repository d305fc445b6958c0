"""`ChunkIndex`: the places of the chunks of a dataset in its file."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import pairwise, product
from math import prod
from typing import TYPE_CHECKING, Any

import h5py  # type: ignore[import-untyped]
import numpy as np

from mocha_hdf5.contents import Contents, Stream
from mocha_hdf5.filters import Stored
from mocha_hdf5.trees import MOST_IN_ARRAY

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: The maximum number of chunks whose places are remembered.
MOST_MAPPED = MOST_IN_ARRAY
#: All chunks are listed after one in this many was looked up.
LOOKED_UP = 32
#: The number of bytes that are read at once, for chunks that lie side by side.
AT_ONCE = 2**22
_FIELDS = np.dtype([("offset", "i8"), ("size", "u4"), ("mask", "u4")])


class ChunkIndex:
    """Finds and reads chunks.

    The library takes a while to look up a chunk. If the index is small and safe (see `Stream.bounded`), and more than a
    few chunks are wanted, the library lists all chunks once. Otherwise it looks them up one by one, and never goes
    through all: a hostile index would keep it busy for hours.
    """

    def __init__(
        self, contents: Contents, stream: Stream, dataset: Any, chunk: tuple[int, ...], grid: tuple[int, ...]
    ) -> None:
        self._contents, self._stream, self._dataset = contents, stream, dataset
        self._chunk, self._grid = chunk, grid
        self._per_row = prod(grid[1:])
        self._lookups = 0
        self._map: NDArray[Any] | None = None
        # After a user block, versions of the library count places from different origins.
        self._mappable = (
            contents.base == 0
            and prod(grid) <= MOST_MAPPED
            and hasattr(dataset, "chunk_iter")
            and not _listed_wrongly(dataset)
        )

    def read(self, rows: range) -> Iterator[Stored | None]:
        """The stored bytes of the chunks in these rows of chunks, in order; None for each that was never written."""
        if (places := self._places(rows)) is not None:
            return self._by_map(places)
        return self._one_by_one(rows)

    def read_into(self, rows: range, size: int, out: NDArray[np.uint8]) -> bool:
        """Fill `out` with all chunks in these rows of chunks, one after the other.

        Returns:
            False if one does not have `size` bytes or skipped a filter, or if their places are not known.
        """
        places = self._places(rows)
        if places is None or (places["size"] != size).any() or places["mask"].any():
            return False
        self._copy(places["offset"], np.full(len(places), size), out)
        return True

    def gather(self, rows: range, most: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]] | None:
        """The stored bytes of all chunks in these rows of chunks, one after the other, and the size of each.

        Returns:
            None if one was never written, skipped a filter, or has more than `most` bytes.
        """
        if (places := self._places(rows)) is not None:
            sizes = places["size"].astype(np.int64)
            if sizes.min() == 0 or sizes.max() > most or places["mask"].any():
                return None
            raw = np.empty(sizes.sum(), np.uint8)
            self._copy(places["offset"], sizes, raw)
            return raw, sizes
        chunks = []
        for chunk in self._one_by_one(rows):
            if chunk is None or chunk.mask or not 0 < len(chunk.raw) <= most:
                return None
            chunks.append(chunk.raw)
        return np.frombuffer(b"".join(chunks), np.uint8), np.array([len(chunk) for chunk in chunks])

    def _copy(self, offsets: NDArray[np.int64], sizes: NDArray[np.int64], out: NDArray[np.uint8]) -> None:
        """Fill `out` with pieces of the file. Those that lie side by side are read at once."""
        ends = np.cumsum(sizes)
        # Old indexes put a node between some chunks, so that few of the runs side by side are long.
        cuts = (np.flatnonzero(offsets[1:] != offsets[:-1] + sizes[:-1]) + 1).tolist()
        begin = 0
        for first, end in pairwise([0, *cuts, len(sizes)]):
            stop = int(ends[end - 1])
            self._contents.read_into(out[begin:stop].data, int(offsets[first]))
            begin = stop

    def _places(self, rows: range) -> NDArray[Any] | None:
        """The places of these rows of chunks; None if they have to be looked up."""
        if self._map is None and self._mappable:
            self._lookups += len(rows) * self._per_row
            if self._lookups * LOOKED_UP > prod(self._grid):
                self.list_all()
        return None if self._map is None else self._map[rows.start * self._per_row : rows.stop * self._per_row]

    def list_all(self) -> bool:
        """Whether the places of all chunks are known, so that the library is no longer needed."""
        if self._map is None and self._mappable:
            self._look_up((0,) * len(self._grid))  # reads the index's header, so that `Stream` checks it
            self._make_map()
        return self._map is not None

    def _one_by_one(self, rows: range) -> Iterator[Stored | None]:
        for position in product(rows, *map(range, self._grid[1:])):
            yield self._look_up(tuple(at * size for at, size in zip(position, self._chunk, strict=True)))

    def _look_up(self, corner: tuple[int, ...]) -> Stored | None:
        try:
            mask, raw = self._dataset.read_direct_chunk(corner)
        except (OSError, RuntimeError, ValueError, MemoryError) as error:
            if "storage is not allocated" in str(error) or self._is_unwritten(corner):
                return None
            raise
        return Stored(memoryview(raw), mask)

    def _is_unwritten(self, corner: tuple[int, ...]) -> bool:
        """Whether the library reads an element of a chunk that has no stored bytes; it is the fill value."""
        space, stored = self._dataset.get_space(), self._dataset.get_type()
        space.select_hyperslab(corner, (1,) * len(corner))
        element = np.empty(1, np.dtype((np.void, stored.get_size())))
        try:
            self._dataset.read(h5py.h5s.create_simple((1,)), space, element, stored)
        except (OSError, RuntimeError, ValueError, MemoryError):
            return False
        return True

    def _make_map(self) -> None:
        """Ask the library for all chunks."""
        self._mappable = self._stream.bounded
        if not self._mappable:
            return
        chunks: deque[Any] = deque(maxlen=MOST_MAPPED)
        self._dataset.chunk_iter(chunks.append)
        found = np.zeros(prod(self._grid), _FIELDS)
        if chunks:
            offsets, masks, places, sizes = zip(*chunks, strict=True)
            numbers = np.array(offsets, np.int64) // self._chunk
            # A dataset that was made smaller may still have old chunks.
            inside = (numbers < self._grid).all(axis=1)
            where = np.ravel_multi_index(tuple(numbers[inside].T), self._grid)
            for field, values in (("offset", places), ("size", sizes), ("mask", masks)):
                found[field][where] = np.array(values)[inside]
        self._map = found

    def _by_map(self, wanted: NDArray[Any]) -> Iterator[Stored | None]:
        """Chunks that lie side by side are read at once."""
        places = wanted.tolist()
        number = 0
        while number < len(places):
            offset, size, mask = places[number]
            number += 1
            if not size:
                yield None
                continue
            run, end = [(size, mask)], offset + size
            while number < len(places) and places[number][0] == end and end + places[number][1] - offset <= AT_ONCE:
                run.append(places[number][1:])
                end += places[number][1]
                number += 1
            data, at = self._contents.read(offset, end - offset), 0
            for size, mask in run:
                yield Stored(data[at : at + size], mask)
                at += size


def _listed_wrongly(dataset: Any) -> bool:
    """Whether the library would list the chunks under wrong positions, and without an error.

    If exactly one axis can grow, the index of new files is an extensible array, whose elements go along that axis
    first. Looking up a chunk allows for that; listing all of them (`H5Dchunk_iter` of HDF5 1.14) does not.
    """
    most = dataset.get_space().get_simple_extent_dims(True)
    growing = [axis for axis, size in enumerate(most) if size == h5py.h5s.UNLIMITED]
    return len(growing) == 1 and growing != [0]
