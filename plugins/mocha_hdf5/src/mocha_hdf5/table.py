"""`Table`: a dataset of numbers, checked before anything of it is read."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import h5py  # type: ignore[import-untyped]
import numpy as np

from mocha_core.errors import FileError
from mocha_hdf5.contents import Contents, Stream
from mocha_hdf5.failures import failures
from mocha_hdf5.layouts import LARGE_CHUNK, MODERATE_RATIO, Chunked, Compact, Contiguous, Layout

if TYPE_CHECKING:
    from numpy.typing import NDArray

WAY_OUT = "Write the dataset again, as plain numbers in this file."


class Table:
    """A dataset of integers or floating-point numbers, all of it inside its file.

    Attributes:
        shape: its axes, samples first.
        dtype: of its elements.
        nbytes: of the contents in memory.
        band_bytes: of the chunks that share rows, in memory; 0 if the dataset is stored in one piece.
        keepable: it is no larger in memory than moderate compression explains.
    """

    def __init__(self, contents: Contents, stream: Stream, name: str, dataset: Any) -> None:
        self._contents = contents
        self._stream = stream
        self.where = f"'{contents.path}', dataset '{name}'"
        # In this order: even asking for the shape of a virtual dataset may open another file.
        properties = dataset.get_create_plist()
        layout = properties.get_layout()
        if layout == h5py.h5d.VIRTUAL:
            raise self._refused("its contents are in other files (a virtual dataset), expected them in this one")
        if properties.get_external_count():
            raise self._refused("its contents are in other files (external storage), expected them in this one")
        self.dtype = self._number_type(dataset.get_type())
        space = dataset.get_space()
        if space.get_simple_extent_type() == h5py.h5s.NULL:
            raise self._refused("expected numbers, found a dataset without any (a null dataspace)")
        self.shape: tuple[int, ...] = tuple(space.get_simple_extent_dims())
        self.nbytes = prod(self.shape) * self.dtype.itemsize
        self._layout = self._open(layout, dataset)
        self.band_bytes = self._layout.band_bytes
        self.keepable = self.nbytes <= max(2 * LARGE_CHUNK, MODERATE_RATIO * self._layout.stored)

    def _open(self, layout: int, dataset: Any) -> Layout:
        shape = self.shape or (1,)
        if layout == h5py.h5d.COMPACT:
            return Compact(dataset, shape, self.dtype, self._refused)
        if 0 in shape or layout == h5py.h5d.CONTIGUOUS:
            return Contiguous(self._contents, dataset, shape, self.dtype, self._refused)
        if layout == h5py.h5d.CHUNKED:
            return Chunked(self._contents, dataset, shape, self.dtype, self._refused)
        raise self._refused(f"its layout is of an unknown kind ({layout})")

    def _number_type(self, stored: Any) -> np.dtype[Any]:
        kind = stored.get_class()
        if kind not in (h5py.h5t.INTEGER, h5py.h5t.FLOAT):
            raise self._refused(
                f"expected integers or floating-point numbers, found {_KINDS.get(kind, 'another type')}"
            )
        try:
            dtype: np.dtype[Any] = stored.dtype
            exact = dtype.kind in "fiu" and h5py.h5t.py_create(dtype).equal(stored)
        except (TypeError, ValueError):
            exact = False
        if not exact:
            raise self._refused(f"expected numbers as NumPy has them, found {stored.get_size()} bytes of another form")
        return dtype

    def _refused(self, found: str) -> FileError:
        return FileError(f"{self.where}: {found}. {WAY_OUT}")

    def read(self, start: int = 0, stop: int | None = None) -> NDArray[Any]:
        """Rows from `start` to before `stop`, or all; perhaps a view, which is not to be written to.

        Raises:
            FileError: the file is damaged, became shorter, or was closed.
        """
        if not self.shape:
            return self._read(0, 1).reshape(())
        stop = self.shape[0] if stop is None else min(stop, self.shape[0])
        return self._read(start, stop) if start < stop else np.empty((0, *self.shape[1:]), self.dtype)

    def _read(self, start: int, stop: int) -> NDArray[Any]:
        self._contents.check_open()
        self._stream.rank = len(self.shape)
        with failures(f"{self.where} cannot be read"):
            return self._layout.read(start, stop)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.array(self.read(), dtype, copy=copy)


_KINDS = {
    h5py.h5t.COMPOUND: "a compound type",
    h5py.h5t.STRING: "strings",
    h5py.h5t.VLEN: "values of variable length",
    h5py.h5t.OPAQUE: "an opaque type",
    h5py.h5t.BITFIELD: "bit fields",
    h5py.h5t.ENUM: "an enumeration (h5py's bool is one)",
    h5py.h5t.REFERENCE: "references",
    h5py.h5t.ARRAY: "an array type",
    h5py.h5t.TIME: "times",
}
