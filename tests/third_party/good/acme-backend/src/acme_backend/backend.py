"""`AcmeBackend`: nets on the arrays of array-api-strict, which are not NumPy's and know the standard only."""

from typing import Any

import array_api_strict
import numpy as np
from numpy.typing import NDArray

from mocha_core.api import Array, Backend


class AcmeBackend(Backend):
    name = "acme"
    xp = array_api_strict

    def empty(self, shape: tuple[int, ...], dtype: str) -> Array:
        return self.xp.empty(shape, dtype=getattr(self.xp, dtype))

    def to_numpy(self, array: Array) -> NDArray[Any]:
        return np.array(array)

    def copy_from_numpy(self, array: Array, source: NDArray[Any]) -> None:
        array[...] = self.xp.asarray(source, dtype=array.dtype)
