"""`HDF5Source`: the rows of several HDF5 files as one table."""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mocha_core.api import FileError, Source, Spec
from mocha_hdf5.bands import CHUNK_CACHE, Bands
from mocha_hdf5.shard import Shard

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: A shuffled data set of up to this many bytes is kept in memory, because single rows are slow to read.
RESIDENT = 2**30
#: The maximum number of files of a list that are open at once. macOS gives a process 256, for all its nets.
MOST_OPEN = 16


class HDF5Source(Source):
    """Rows of files in the order of the list; with a seed, shuffled over all of them.

    The most recently used files are open, at most `MOST_OPEN`.

    Raises:
        FileError: a file or dataset is missing, damaged, or does not fit the others.
    """

    prefetch = True
    fixed = True

    def __init__(self, files: Sequence[Path], tops: Sequence[str], seed: int | None) -> None:
        self.seed = seed
        self._shards: list[Shard] = []
        self._open: OrderedDict[int, Shard] = OrderedDict()
        bands = [Bands() for _ in tops]
        try:
            for number, path in enumerate(files):
                self._shards.append(Shard(path, tops, bands))
                self._use(number)
                self._check_like_first(tops, self._shards[-1])
        except BaseException:
            self.close()
            raise
        first = self._shards[0]
        self.specs = tuple(Spec(shape, dtype.name) for shape, dtype in zip(first.shapes, first.dtypes, strict=True))
        self._ends = [*accumulate(shard.rows for shard in self._shards)]
        self.rows = self._ends[-1]
        scattered = seed is not None or max(shard.band_bytes for shard in self._shards) > CHUNK_CACHE
        small = sum(shard.nbytes for shard in self._shards) <= RESIDENT
        self._keep = scattered and small and all(shard.keepable for shard in self._shards)

    def _check_like_first(self, tops: Sequence[str], shard: Shard) -> None:
        first = self._shards[0]
        for top, shape, model in zip(tops, shard.shapes, first.shapes, strict=True):
            if shape != model:
                raise FileError(
                    f"'{shard.path}', dataset '{top}': expected samples of shape {model} as in '{first.path}', found "
                    f"{shape}. All files of a list must fit together."
                )

    def _use(self, number: int) -> Shard:
        """Note that a file is about to be read, and close the least recently used one if too many are open."""
        self._open[number] = self._shards[number]
        self._open.move_to_end(number)
        if len(self._open) > MOST_OPEN:
            self._open.popitem(last=False)[1].suspend()
        return self._shards[number]

    def fetch(self, rows: NDArray[np.int64], epoch: int, out: Sequence[NDArray[Any]]) -> None:
        start, stop = int(rows[0]), int(rows[-1]) + 1
        if stop - start == len(rows) and (rows[1:] > rows[:-1]).all():
            number = bisect_right(self._ends, start)
            if stop <= self._ends[number]:
                self._use(number).copy_run(start - self._begin(number), out, self._keep)
                return
        owners = np.searchsorted(self._ends, rows, side="right")
        for number in sorted({*owners.tolist()}):
            positions = np.flatnonzero(owners == number)
            self._use(number).copy(rows[positions] - self._begin(number), out, positions, self._keep)

    def _begin(self, number: int) -> int:
        """The number of the first row of a file."""
        return self._ends[number] - self._shards[number].rows

    def close(self) -> None:
        for shard in self._shards:
            shard.close()
