"""A data layer over arrays in memory, optionally shuffled, prefetched, or broken at one row."""

from __future__ import annotations

import numpy as np

from mocha_core.describe.layer import DataLayer
from mocha_core.describe.source import Source
from mocha_core.errors import FileError
from mocha_core.graph.value import Spec


class Arrays(Source):
    def __init__(self, arrays, seed=None, prefetch=False, broken_row=-1, fixed=True, repeated=0):
        self.arrays = [np.asarray(a) for a in arrays]
        self.rows = max(repeated, len(self.arrays[0]))
        self.specs = tuple(Spec(a.shape[1:], "float32") for a in self.arrays)
        self.seed, self.prefetch, self.broken_row = seed, prefetch, broken_row
        self.fixed, self.closed = fixed, False

    def fetch(self, rows, epoch, out):
        if self.broken_row in rows:
            raise FileError(f"row {self.broken_row} cannot be read")
        for target, array in zip(out, self.arrays, strict=True):
            target[...] = array[rows % len(array)]

    def close(self):
        self.closed = True


class MemoryLayer(DataLayer):
    arrays: tuple = ()
    shuffle: bool = False
    prefetch: bool = False
    broken_row: int = -1
    fixed: bool = True
    repeated: int = 0
    """Rows that there are at least, those of the arrays again and again."""

    def open(self, seed):
        return Arrays(
            self.arrays, seed if self.shuffle else None, self.prefetch, self.broken_row, self.fixed, self.repeated
        )
