"""`Table`: a dataset of numbers, checked before any of it is read."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import h5py  # type: ignore[import-untyped]
import numpy as np

from mocha_core.api import FileError
from mocha_hdf5.bands import CHUNK_CACHE, Bands
from mocha_hdf5.chunks import LARGE_CHUNK, MODERATE_RATIO, Chunked
from mocha_hdf5.contents import Contents, Stream
from mocha_hdf5.failures import failures
from mocha_hdf5.layouts import Compact, Contiguous, Layout, Unwritten
from mocha_hdf5.packed import Packed, packed

if TYPE_CHECKING:
    from numpy.typing import NDArray

WAY_OUT = "Write the dataset again, as plain numbers in this file."


class Table:
    """A dataset of integers or floating-point numbers, all of it inside its file.

    Attributes:
        shape: its axes, samples first.
        dtype: the dtype of its elements.
        nbytes: the bytes of the contents in memory.
        band_bytes: the bytes in memory of the chunks that share rows; 0 if the dataset is stored in one piece.
        keepable: whether moderate compression explains its size in memory.
    """

    def __init__(self, contents: Contents, stream: Stream, name: str, dataset: Any, bands: Bands | None = None) -> None:
        self._contents = contents
        self._stream = stream
        self.where = f"'{contents.path}', dataset '{name}'"
        # The order matters: even reading the shape of a virtual dataset may open another file.
        properties = dataset.get_create_plist()
        layout = properties.get_layout()
        if layout == h5py.h5d.VIRTUAL:
            raise self._refused("its contents are in other files (a virtual dataset), expected them in this one")
        if properties.get_external_count():
            raise self._refused("its contents are in other files (external storage), expected them in this one")
        stored = dataset.get_type()
        self._packed: Packed | None = None
        self.dtype = self._stored = self._number_type(stored)
        if self._packed is not None:
            self.dtype, self._stored = self._packed.dtype, self._packed.stored
        space = dataset.get_space()
        if space.get_simple_extent_type() == h5py.h5s.NULL:
            raise self._refused("expected numbers, found a dataset without any (a null dataspace)")
        self.shape: tuple[int, ...] = tuple(space.get_simple_extent_dims())
        self.nbytes = prod(self.shape) * self.dtype.itemsize
        self._layout = self._open(layout, dataset, Bands() if bands is None else bands)
        self.band_bytes = self._layout.band_bytes
        moderate = self.nbytes <= max(2 * LARGE_CHUNK, MODERATE_RATIO * self._layout.stored)
        self.keepable = moderate or self.band_bytes > CHUNK_CACHE

    def _open(self, layout: int, dataset: Any, bands: Bands) -> Layout:
        shape, stored = self.shape or (1,), dataset.get_type()
        if layout not in (h5py.h5d.COMPACT, h5py.h5d.CONTIGUOUS, h5py.h5d.CHUNKED):
            raise self._refused(f"its layout is of an unknown kind ({layout})")
        written = layout == h5py.h5d.CHUNKED or dataset.get_storage_size()
        if 0 in shape or not written:
            return Unwritten(shape, self._stored, self._fill_value(dataset, stored), self._refused)
        if layout == h5py.h5d.COMPACT:
            return Compact(dataset, stored, shape, self._stored, self._refused)
        if layout == h5py.h5d.CONTIGUOUS:
            return Contiguous(self._contents, dataset, shape, self._stored, self._refused)
        fill = self._fill_value(dataset, stored)
        return Chunked(
            self._contents, self._stream, dataset, shape, self._stored, fill, bands, self.where, self._refused
        )

    def _fill_value(self, dataset: Any, stored: Any) -> NDArray[Any] | None:
        """The fill value as it would be in the file, as an array without axes; None if there is none."""
        properties = dataset.get_create_plist()
        if properties.fill_value_defined() == h5py.h5d.FILL_VALUE_UNDEFINED:
            return None
        fill = np.zeros((), stored.dtype)
        properties.get_fill_value(fill)
        return fill.view(self._stored) if self._packed is None else np.asarray(self._packed.pack(fill))

    def _number_type(self, stored: Any) -> np.dtype[Any]:
        """The dtype in memory. Enumerations (such as h5py's bool) and bit fields become the integers they hold."""
        kind = stored.get_class()
        if kind == h5py.h5t.ENUM:
            stored = stored.get_super()
            kind = stored.get_class()
        if kind not in (h5py.h5t.INTEGER, h5py.h5t.FLOAT, h5py.h5t.BITFIELD):
            raise self._refused(
                f"expected integers or floating-point numbers, found {_KINDS.get(kind, 'another type')}"
            )
        try:
            dtype: np.dtype[Any] = stored.dtype
            exact = dtype.kind in "fiu" and _is_exact(stored, dtype)
        except (TypeError, ValueError):
            exact = False
        if not exact:
            self._packed = packed(stored)
            if self._packed is None:
                raise self._refused(
                    f"expected numbers as NumPy has them, found {stored.get_size()} bytes of another form"
                )
            return self._packed.dtype
        return dtype

    def _refused(self, found: str) -> FileError:
        return FileError(f"{self.where}: {found}. {WAY_OUT}")

    def read(self, start: int = 0, stop: int | None = None) -> NDArray[Any]:
        """Rows from `start` to before `stop`, or all. The result may be a view; do not write to it.

        Raises:
            FileError: the file is damaged, became shorter, or was closed.
        """
        if not self.shape:
            return self._read(0, 1).reshape(())
        stop = self.shape[0] if stop is None else min(stop, self.shape[0])
        return self._read(start, stop) if start < stop else np.empty((0, *self.shape[1:]), self.dtype)

    def read_into(self, out: NDArray[Any], start: int) -> None:
        """Fill `out` with the rows from `start`, which the dataset has to have, as numbers of the dtype of `out`.

        Raises:
            FileError: the file is damaged, became shorter, or was closed.
        """
        if self._packed is not None:
            out[...] = self._read(start, start + len(out))
            return
        self._contents.check_open()
        self._stream.rank = len(self.shape)
        with failures(f"{self.where} cannot be read"):
            self._layout.read_into(out, start)

    def release_library(self) -> bool:
        """Whether rows can now be read without the HDF5 library."""
        with failures(f"{self.where} cannot be read"):
            self._stream.rank = len(self.shape)
            return self._layout.release_library()

    def _read(self, start: int, stop: int) -> NDArray[Any]:
        self._contents.check_open()
        self._stream.rank = len(self.shape)
        with failures(f"{self.where} cannot be read"):
            found = self._layout.read(start, stop)
        return found if self._packed is None else self._packed.unpack(found)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.array(self.read(), dtype, copy=copy)


def _is_exact(stored: Any, dtype: np.dtype[Any]) -> bool:
    """Whether the bytes in the file are the same as in NumPy."""
    if stored.get_class() == h5py.h5t.BITFIELD:
        return dtype.kind == "u" and any(stored.equal(one) for one in _BIT_FIELDS)
    return bool(h5py.h5t.py_create(dtype).equal(stored))


_BIT_FIELDS = [
    *(h5py.h5t.STD_B8LE, h5py.h5t.STD_B16LE, h5py.h5t.STD_B32LE, h5py.h5t.STD_B64LE),
    *(h5py.h5t.STD_B8BE, h5py.h5t.STD_B16BE, h5py.h5t.STD_B32BE, h5py.h5t.STD_B64BE),
]
_KINDS = {
    h5py.h5t.COMPOUND: "a compound type",
    h5py.h5t.STRING: "strings",
    h5py.h5t.VLEN: "values of variable length",
    h5py.h5t.OPAQUE: "an opaque type",
    h5py.h5t.REFERENCE: "references",
    h5py.h5t.ARRAY: "an array type",
    h5py.h5t.TIME: "times",
}
