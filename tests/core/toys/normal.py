"""A toy initializer, and an L2 regularizer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mocha_core.describe.parameter import Initializer, Regularizer


@dataclass(frozen=True)
class Normal(Initializer):
    scale: float = 0.3

    def initialize(self, shape, random):
        return self.scale * random.standard_normal(shape)


@dataclass(frozen=True)
class Constant(Initializer):
    number: float

    def initialize(self, shape, random):
        return np.full(shape, self.number)


class L2(Regularizer):
    def gradient(self, xp, w):
        return 2.0 * w
