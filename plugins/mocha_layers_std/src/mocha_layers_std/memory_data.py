"""`MemoryDataLayer`: minibatches from arrays in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mocha_core import checks
from mocha_core.describe.layer import DataLayer
from mocha_core.describe.source import Source
from mocha_core.errors import ConfigurationError
from mocha_core.graph.value import Spec


class ArraySource(Source):
    """Rows of arrays, read when they are fetched."""

    def __init__(self, data: Sequence[NDArray[Any]], seed: int | None) -> None:
        self.data = data
        self.seed = seed
        self.rows = len(data[0])
        self.specs = tuple(Spec(array.shape[1:], str(array.dtype)) for array in data)

    def fetch(self, rows: NDArray[np.int64], out: Sequence[NDArray[Any]]) -> None:
        for array, target in zip(self.data, out, strict=True):
            target[...] = array[rows]


class MemoryDataLayer(DataLayer):
    """Minibatches from arrays of any rank, samples along the first axis.

    Tops: one for each array, (batch_size, ...). The arrays are not copied: what is written into
    `layer.data[0][...]` shows in the next minibatch.
    """

    data: Sequence[Any]
    """One array for each top, of equal lengths and any numeric dtype."""
    shuffle: bool = False
    """Whether every epoch has an order of its own, the same for all tops."""

    def check(self) -> None:
        super().check()
        checks.instance(self, "shuffle", self.shuffle, bool, "True")
        try:
            arrays = tuple(np.asarray(array) for array in self.data)
        except (TypeError, ValueError) as error:
            raise ConfigurationError(
                f"{self}: expected data to be a list of {len(self.tops)} arrays of numbers, one for each of the tops "
                f"{list(self.tops)}; received something else ({error})."
            ) from error
        received = ", ".join(f"{array.dtype}{list(array.shape)}" for array in arrays) or "none"
        if len(arrays) != len(self.tops) or not arrays:
            raise ConfigurationError(
                f"{self}: expected data to be a list of {len(self.tops)} arrays, one for each of the tops "
                f"{list(self.tops)}; received {received}."
            )
        if any(array.ndim == 0 or array.dtype.kind not in "fiub" for array in arrays):
            raise ConfigurationError(
                f"{self}: expected data to be arrays of numbers with at least one axis, received {received}."
            )
        lengths = {len(array) for array in arrays}
        if len(lengths) > 1 or any(array.size == 0 for array in arrays):
            raise ConfigurationError(
                f"{self}: expected data to be arrays of equal lengths, without an axis of size 0; received {received}."
            )
        self.replace_field("data", arrays)

    def open(self, seed: int) -> ArraySource:
        return ArraySource(self.data, seed if self.shuffle else None)
