"""`MemoryDataLayer`: minibatches from arrays in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mocha_core.api import ConfigurationError, DataLayer, Source, Spec, checks


class ArraySource(Source):
    """Rows of arrays, read when they are fetched. They are `fixed` if all arrays are read-only."""

    def __init__(self, data: Sequence[NDArray[Any]], seed: int | None) -> None:
        self.data = data
        self.seed = seed
        self.rows = len(data[0])
        self.specs = tuple(Spec(array.shape[1:], str(array.dtype)) for array in data)
        self.fixed = all(map(_read_only, data))

    def fetch(self, rows: NDArray[np.int64], epoch: int, out: Sequence[NDArray[Any]]) -> None:
        for array, target in zip(self.data, out, strict=True):
            if array.dtype == target.dtype and array.flags.c_contiguous:  # take() would copy other arrays as a whole
                array.take(rows, axis=0, out=target, mode="clip")  # "raise" would copy the rows once more
            else:
                target[...] = array[rows]


def _read_only(array: NDArray[Any]) -> bool:
    """Whether neither the array nor the memory it views can be written. Files mapped into memory count as writable."""
    while isinstance(array, np.ndarray):
        if array.flags.writeable:
            return False
        array = array.base  # type: ignore[assignment]
    return array is None


class MemoryDataLayer(DataLayer):
    """Minibatches from arrays of any rank, samples along the first axis.

    Tops: one for each array, (batch_size, ...). The arrays are not copied: a change of `layer.data[0][...]` shows in
    the next minibatch. Arrays that are read-only when the net is built, after `array.flags.writeable = False`, and view
    only read-only arrays, count as constants: a backend may keep a copy on its device, which is faster.
    """

    data: Sequence[Any] = field(repr=False)
    """A list with one array for each top, of equal lengths and any numeric dtype. Other sequences are copied."""
    shuffle: bool = False
    """Whether every epoch has its own order, which all tops and data layers of a net share."""

    def check(self) -> None:
        super().check()
        checks.instance(self, "shuffle", self.shuffle, bool, "True")
        if isinstance(self.data, np.ndarray):
            raise ConfigurationError(
                f"{self}: expected data to be a list with one array for each of the tops {list(self.tops)}, received "
                f"one array, {_listed([self.data])}. For one top, write data=[array]."
            )
        try:
            given = tuple(self.data)
            arrays = tuple(np.asarray(array) for array in given)
        except (TypeError, ValueError) as error:
            raise ConfigurationError(
                f"{self}: expected data to be a list of {len(self.tops)} arrays of numbers, one for each of the tops "
                f"{list(self.tops)}; received something else ({error!s:.200})."
            ) from error
        if any(np.ma.is_masked(array) for array in given):
            raise ConfigurationError(
                f"{self}: data has masked elements, which a net cannot leave out. Replace them: array.filled(0)."
            )
        received = _listed(arrays)
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


def _listed(arrays: Sequence[NDArray[Any]], most: int = 6) -> str:
    shown = ", ".join(f"{array.dtype}{list(array.shape)}" for array in arrays[:most]) or "none"
    return shown if len(arrays) <= most else f"{shown} and {len(arrays) - most:,} more"
