"""Applies the HDF5 library's filters to checked chunks, in files that exist only in memory.

The library trusts the parameters of a filter. To hide those of the user's file, this module writes the stored bytes of
a chunk into a dataset of its own, and reads them from there.
"""

from __future__ import annotations

import os
from itertools import count
from math import prod
from typing import TYPE_CHECKING, Any

import h5py  # type: ignore[import-untyped]
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

#: The file is made anew after this many chunks, because freed pieces add up.
MOST_CHUNKS = 1000
#: A file above this size, in bytes, is not kept.
KEPT_BYTES = 8 * 2**20
_numbers = count()


class Refused(Exception):
    """The library does not accept a chunk."""


class _Chunk:
    """A dataset in a file in memory, of one chunk, or of several along its first axis."""

    def __init__(self, stored: Any, shape: tuple[int, ...], properties: Any) -> None:
        self._stored, self._shape, self._properties = stored, shape, properties
        self._nbytes = prod(shape) * stored.get_size()
        self._file: Any = None
        self._written = 0

    def open(self) -> Any:
        """The dataset, empty or with an earlier chunk."""
        if self._file is None or self._written >= MOST_CHUNKS:
            self.close()
            # Open files need different names, even those in memory.
            name = f"mocha-chunk-{os.getpid()}-{next(_numbers)}"
            self._file = h5py.File(name, "w", driver="core", backing_store=False, rdcc_nbytes=0)
            space = h5py.h5s.create_simple(self._shape)
            self._dataset = h5py.h5d.create(self._file.id, b"chunk", self._stored, space, self._properties)
        return self._dataset

    def undo(self, raw: memoryview) -> NDArray[np.uint8]:
        """The bytes from which the filter made the chunk."""
        return self._undo([raw], self._shape)

    def undo_all(self, raws: Sequence[bytes]) -> NDArray[np.uint8]:
        """The bytes of several chunks, each of which has one element along the first axis."""
        return self._undo(raws, (len(raws), *self._shape[1:])).reshape(len(raws), -1)

    def _undo(self, raws: Sequence[memoryview | bytes], shape: tuple[int, ...]) -> NDArray[np.uint8]:
        out = np.empty(shape, np.dtype((np.void, self._stored.get_size())))
        first = (0,) * len(shape)
        try:
            dataset = self.open()
            self._written += len(raws)
            for number, raw in enumerate(raws):
                dataset.write_direct_chunk((number, *first[1:]), raw)
            space = dataset.get_space()
            space.select_hyperslab(first, shape)
            dataset.read(h5py.h5s.create_simple(shape), space, out, self._stored)
        except (OSError, RuntimeError, ValueError, TypeError) as error:
            self.close()
            raise Refused(str(error)) from error
        if self._nbytes > KEPT_BYTES:
            self.close()
        return out.reshape(-1).view(np.uint8)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        self._file, self._dataset, self._written = None, None, 0


class TypedFilter:
    """A filter that knows the elements, with the parameters that the library itself gives it for such a dataset.

    Args:
        stored: the type of the elements in the file.
        chunk: the axes of a chunk.
        code: the number of the filter.
        values: its parameters in the user's file.
        fill: the fill value, as an array without axes; None if there is none.

    Raises:
        Refused: the library has no such filter, or gives it other parameters.
    """

    def __init__(
        self, stored: Any, chunk: tuple[int, ...], code: int, values: tuple[int, ...], fill: NDArray[Any] | None
    ) -> None:
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_chunk(chunk)
        if fill is not None:
            properties.set_fill_value(fill)
        self._chunk = _Chunk(stored, chunk, properties)
        number = stored.get_super() if stored.get_class() == h5py.h5t.ENUM else stored
        self.precision: int = number.get_precision()
        try:
            _add(properties, code, values)
            ours = tuple(self._chunk.open().get_create_plist().get_filter(0)[2])
        except (OSError, RuntimeError, ValueError, TypeError, IndexError) as error:
            raise Refused(str(error)) from error
        if ours != values:  # the parameters decide how much memory the filter takes
            raise Refused(f"expected parameters {ours}, found {values}")

    def undo(self, raw: memoryview) -> memoryview:
        """The bytes of a chunk.

        Raises:
            Refused: the chunk is damaged.
        """
        return self._chunk.undo(raw).data

    def release(self) -> None:
        """Release memory until the next chunk."""
        self._chunk.close()


def _add(properties: Any, code: int, values: tuple[int, ...]) -> None:
    if code == h5py.h5z.FILTER_SCALEOFFSET:
        properties.set_scaleoffset(values[0], values[1])
    elif code == h5py.h5z.FILTER_SZIP:
        properties.set_szip(values[0] & (h5py.h5z.SZIP_EC_OPTION_MASK | h5py.h5z.SZIP_NN_OPTION_MASK), values[1])
    else:
        properties.set_filter(code, h5py.h5z.FLAG_OPTIONAL)


class LZF:
    """Unpacks lzf with h5py's filter. lzf does not store the length of its data."""

    #: One literal run: a count, and that many bytes.
    MARK = 16
    #: The number of chunks that are unpacked together.
    AT_ONCE = 64

    def __init__(self) -> None:
        self._chunks: _Chunk | None = None
        self._size = -1

    def unpack(self, raws: Sequence[memoryview], size: int) -> NDArray[np.uint8] | None:
        """The `size` bytes that each of up to `AT_ONCE` chunks was packed from; None if one has more or fewer.

        A mark is packed behind the data. It shows where the data end, because no earlier chunk had the same mark.

        Raises:
            Refused: the data are not lzf.
        """
        if self._chunks is None or size != self._size:
            if self._chunks is not None:
                self._chunks.close()
            properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            properties.set_chunk((1, size + self.MARK))
            properties.set_filter(h5py.h5z.FILTER_LZF, h5py.h5z.FLAG_OPTIONAL)
            shape = (self.AT_ONCE, size + self.MARK)
            self._chunks, self._size = _Chunk(h5py.h5t.STD_U8LE, shape, properties), size
        marks, run = os.urandom(self.MARK * len(raws)), bytes([self.MARK - 1])
        data = self._chunks.undo_all(
            [b"".join((raw, run, marks[n * self.MARK : (n + 1) * self.MARK])) for n, raw in enumerate(raws)]
        )
        return data[:, :size] if data[:, size:].tobytes() == marks else None
