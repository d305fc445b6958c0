"""`HDF5Source`: the rows of several HDF5 files as one table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mocha_core.describe.source import Source
from mocha_core.errors import FileError
from mocha_core.graph.value import Spec
from mocha_hdf5.contents import Disk
from mocha_hdf5.layouts import CHUNK_CACHE
from mocha_hdf5.reader import Reader
from mocha_hdf5.table import Table

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: A shuffled data set up to this many bytes is kept in memory: single rows are slow to read.
RESIDENT = 2**30


class Shard:
    """The datasets of one file, one for each top, all with as many rows."""

    def __init__(self, path: Path, tops: Sequence[str]) -> None:
        self.path = path
        self._reader = Reader(Disk(path))
        self._resident: list[NDArray[Any]] = []
        try:
            self.tables = [self._table(top) for top in tops]
            self._check(tops)
        except BaseException:
            self._reader.close()
            raise
        self.rows = self.tables[0].shape[0]

    def _table(self, top: str) -> Table:
        try:
            return self._reader.table(top)
        except KeyError:
            names = ", ".join(sorted(self._reader.names())[:20]) or "none"
            raise FileError(f"'{self.path}' has no dataset '{top}'. It has: {names}.") from None

    def _check(self, tops: Sequence[str]) -> None:
        for top, table in zip(tops, self.tables, strict=True):
            if not table.shape or 0 in table.shape:
                raise FileError(
                    f"'{self.path}', dataset '{top}': expected samples along the first axis, found shape "
                    f"{table.shape}. Take the file off the list, or fill it."
                )
        if len({table.shape[0] for table in self.tables}) > 1:
            found = ", ".join(f"{t.shape[0]} of '{top}'" for top, t in zip(tops, self.tables, strict=True))
            raise FileError(
                f"'{self.path}': expected as many samples in each dataset, found {found}. Samples go along the first "
                "axis; MATLAB and Julia write the axes in reverse order, and need them along the last. Write it again."
            )

    def copy(
        self, rows: NDArray[np.int64], out: Sequence[NDArray[Any]], positions: NDArray[np.int64], keep: bool
    ) -> None:
        """Write `rows` to `positions` in `out`; with `keep`, read the whole file once and remember it."""
        if keep and not self._resident:
            self._resident = [table.read() for table in self.tables]
        for index, target in enumerate(out):
            if keep:
                target[positions] = self._resident[index][rows]
            else:
                copy_runs(self.tables[index], rows, target, positions)

    def close(self) -> None:
        self._reader.close()


def copy_runs(table: Table, rows: NDArray[np.int64], target: NDArray[Any], positions: NDArray[np.int64]) -> None:
    """Write `rows` of a table to `positions` of `target`, reading rows that follow each other at once."""
    order = np.argsort(rows, kind="stable")
    rows, positions = rows[order], positions[order]
    gaps = np.flatnonzero(np.diff(rows) > 1) + 1
    for run, where in zip(np.split(rows, gaps), np.split(positions, gaps), strict=True):
        target[where] = table.read(int(run[0]), int(run[-1]) + 1)[run - run[0]]


class HDF5Source(Source):
    """Rows of files in the order of the list; with a seed, shuffled over all of them.

    Raises:
        FileError: a file or dataset is missing, damaged, or does not fit the others.
    """

    prefetch = True
    fixed = True

    def __init__(self, files: Sequence[Path], tops: Sequence[str], seed: int | None) -> None:
        self.seed = seed
        self._shards: list[Shard] = []
        try:
            for path in files:
                self._shards.append(Shard(path, tops))
                self._check_like_first(tops, self._shards[-1])
        except BaseException:
            self.close()
            raise
        tables = [table for shard in self._shards for table in shard.tables]
        self.specs = tuple(Spec(table.shape[1:], table.dtype.name) for table in self._shards[0].tables)
        self._ends = np.cumsum([shard.rows for shard in self._shards])
        self.rows = int(self._ends[-1])
        scattered = seed is not None or max(table.band_bytes for table in tables) > CHUNK_CACHE
        small = sum(table.nbytes for table in tables) <= RESIDENT
        self._keep = scattered and small and all(table.keepable for table in tables)

    def _check_like_first(self, tops: Sequence[str], shard: Shard) -> None:
        first = self._shards[0]
        for top, table, model in zip(tops, shard.tables, first.tables, strict=True):
            if table.shape[1:] != model.shape[1:]:
                raise FileError(
                    f"'{shard.path}', dataset '{top}': expected samples of shape {model.shape[1:]} as in "
                    f"'{first.path}', found {table.shape[1:]}. All files of a list must fit together."
                )

    def fetch(self, rows: NDArray[np.int64], epoch: int, out: Sequence[NDArray[Any]]) -> None:
        owners = np.searchsorted(self._ends, rows, side="right")
        for number in np.unique(owners):
            shard = self._shards[number]
            positions = np.flatnonzero(owners == number)
            shard.copy(rows[positions] - (self._ends[number] - shard.rows), out, positions, self._keep)

    def close(self) -> None:
        for shard in self._shards:
            shard.close()
