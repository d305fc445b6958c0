"""`Table`: the arguments of a kernel that works on many arrays at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from mocha_cuda.backend import CUDABackend


class Table:
    """Rows of 64-bit numbers on the device, which a kernel reads as structures: addresses of arrays, ints, doubles.

    Attributes:
        array: uint64 of shape (rows, columns).
        rows: the rows as given; they keep the arrays alive. None is the address 0.
    """

    def __init__(self, backend: CUDABackend, rows: Sequence[Sequence[Any]]) -> None:
        def bits(entry: Any) -> Any:
            if entry is None or isinstance(entry, int):
                return np.int64(entry or 0).view(np.uint64)
            if isinstance(entry, float):
                return np.float64(entry).view(np.uint64)
            return np.uint64(backend.device.address(entry))

        self.rows = rows
        numbers = np.array([[bits(entry) for entry in row] for row in rows], np.uint64)
        self.array = backend.empty(numbers.shape, "uint64")
        backend.copy_from_numpy(self.array, numbers)
