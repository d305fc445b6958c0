"""`AcmeBackend`: nets on the arrays of array-api-strict, which are not NumPy's and know the standard only."""

import array_api_strict
import numpy as np

from mocha_core.backend import Backend


class AcmeBackend(Backend):
    name = "acme"
    xp = array_api_strict

    def empty(self, shape, dtype):
        return self.xp.empty(shape, dtype=getattr(self.xp, dtype))

    def to_numpy(self, array):
        return np.array(array)

    def copy_from_numpy(self, array, source):
        array[...] = self.xp.asarray(source, dtype=array.dtype)
