"""Toy backend `plain`: NumPy with the five required members and nothing else; every op runs its reference."""

from __future__ import annotations

import numpy as np

from mocha_core.compile.backend import Backend


class Plain(Backend):
    name = "plain"
    xp = np

    def empty(self, shape, dtype):
        return np.empty(shape, dtype)

    def to_numpy(self, array):
        return np.array(array)

    def copy_from_numpy(self, array, source):
        array[...] = source
