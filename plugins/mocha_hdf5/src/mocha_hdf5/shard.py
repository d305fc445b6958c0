"""`Shard`: the datasets of one file of a list, which is not always open."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mocha_core.api import FileError
from mocha_hdf5.bands import Bands
from mocha_hdf5.contents import Disk
from mocha_hdf5.reader import Reader
from mocha_hdf5.table import Table

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Shard:
    """The datasets of one file, one for each top, all with the same number of rows.

    Attributes:
        path: the file.
        rows: the number of rows.
        shapes: the shape of a row, for each top.
        dtypes: the dtype of the elements, for each top.
        nbytes: the bytes of all contents in memory.
        band_bytes: the bytes of the chunks that share rows, for the dataset with the largest.
        keepable: whether moderate compression explains the size of the contents in memory.

    Args:
        path: the file.
        tops: the names of the datasets.
        bands: the cache of decompressed chunks, for each top.
    """

    def __init__(self, path: Path, tops: Sequence[str], bands: Sequence[Bands]) -> None:
        self.path = path
        self._tops = tops
        self._bands = bands
        self._contents = Disk(path)
        self._resident: list[NDArray[Any]] = []
        self._reader: Reader | None = None
        self._tables: list[Table] = []
        try:
            tables = self._open()
        except BaseException:
            self._contents.close()
            raise
        self.rows = tables[0].shape[0]
        self.shapes = [table.shape[1:] for table in tables]
        self.dtypes = [table.dtype for table in tables]
        self.nbytes = sum(table.nbytes for table in tables)
        self.band_bytes = max(table.band_bytes for table in tables)
        self.keepable = all(table.keepable for table in tables)

    def _open(self) -> list[Table]:
        if self._tables:
            return self._tables
        reader = Reader(self._contents)
        try:
            tables = [self._table(reader, top, bands) for top, bands in zip(self._tops, self._bands, strict=True)]
            self._check(tables)
        except BaseException:
            reader.release_library()
            raise
        self._reader = reader
        self._tables = tables
        return tables

    def _table(self, reader: Reader, top: str, bands: Bands) -> Table:
        try:
            return reader.table(top, bands)
        except KeyError:
            names = ", ".join(sorted(reader.names())[:20]) or "none"
            raise FileError(
                f"'{self.path}' has no dataset '{top}'. It has: {names}. Name the tops like the datasets, in the order "
                "in which layers expect them."
            ) from None

    def _check(self, tables: Sequence[Table]) -> None:
        for top, table in zip(self._tops, tables, strict=True):
            if not table.shape or 0 in table.shape:
                raise FileError(
                    f"'{self.path}', dataset '{top}': expected samples along the first axis, found shape "
                    f"{table.shape}. Take the file off the list, or fill it."
                )
        if len({table.shape[0] for table in tables}) > 1:
            found = ", ".join(f"{t.shape[0]} of '{top}'" for top, t in zip(self._tops, tables, strict=True))
            raise FileError(
                f"'{self.path}': expected as many samples in each dataset, found {found}. Samples go along the first "
                "axis; MATLAB and Julia write the axes in reverse order, and need them along the last. Write it again."
            )

    def copy(
        self, rows: NDArray[np.int64], out: Sequence[NDArray[Any]], positions: NDArray[np.int64], keep: bool
    ) -> None:
        """Write `rows` to `positions` in `out`; with `keep`, read the whole file once and remember it."""
        for index, target in enumerate(out):
            if not keep:
                copy_runs(self._open()[index], rows, target, positions)
                continue
            kept = self._kept()[index]
            if len(positions) == len(target) and target.dtype == kept.dtype:
                kept.take(rows, axis=0, out=target, mode="clip")  # "raise" would copy them once more
            else:
                target[positions] = kept[rows]

    def copy_run(self, start: int, out: Sequence[NDArray[Any]], keep: bool) -> None:
        """Fill `out` with the rows from `start`; `keep` is as for `copy`."""
        for index, target in enumerate(out):
            if keep:
                target[...] = self._kept()[index][start : start + len(target)]
            else:
                self._open()[index].read_into(target, start)

    def _kept(self) -> list[NDArray[Any]]:
        """All contents."""
        if not self._resident:
            self._resident = [table.read() for table in self._open()]
            self.suspend()
        return self._resident

    def suspend(self) -> None:
        """Close the file, for the system and the HDF5 library, until rows are wanted again.

        The places of datasets and chunks are remembered if they are known, or can be listed in short time.
        """
        if self._reader is not None:
            try:
                known = all(table.release_library() for table in self._tables)
            except FileError:  # the next read raises it again
                known = False
            if not known:
                self._tables = []
            self._reader.release_library()
            self._reader = None
        self._contents.suspend()

    def close(self) -> None:
        """Close the shard. Its rows cannot be read any more."""
        if self._reader is not None:
            self._reader.release_library()
        self._reader, self._tables = None, []
        self._contents.close()


def copy_runs(table: Table, rows: NDArray[np.int64], target: NDArray[Any], positions: NDArray[np.int64]) -> None:
    """Write `rows` of a table to `positions` of `target`. Consecutive rows are read at once.

    Where they are consecutive in `target`, too, they are not copied on the way.
    """
    steps = np.diff(rows)
    if (steps < 0).any():
        order = np.argsort(rows, kind="stable")
        rows, positions = rows[order], positions[order]
        steps = np.diff(rows)
    edges = [0, *(np.flatnonzero(steps > 1) + 1).tolist(), len(rows)]
    for begin, end in pairwise(edges):
        run, where = rows[begin:end], positions[begin:end]
        start, stop, first = int(run[0]), int(run[-1]) + 1, int(where[0])
        if stop - start == len(run) and (where - run == first - start).all():
            table.read_into(target[first : first + len(run)], start)
        else:
            target[where] = table.read(start, stop)[run - start]
