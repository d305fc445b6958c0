"""Initializers: the first contents of parameters."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod, sqrt
from typing import TYPE_CHECKING, Any

from mocha_core.api import Initializer, checks

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class NullInitializer(Initializer):
    """Leaves the parameter as it is: zero, or loaded."""

    def initialize(self, shape: tuple[int, ...], random: np.random.Generator) -> None:
        return None


@dataclass(frozen=True)
class ConstantInitializer(Initializer):
    """Every element is `value`."""

    value: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", checks.number("ConstantInitializer", "value", self.value))

    def initialize(self, shape: tuple[int, ...], random: np.random.Generator) -> NDArray[np.floating[Any]]:
        import numpy as np

        return np.full(shape, self.value)


@dataclass(frozen=True)
class XavierInitializer(Initializer):
    """Uniform in [-S, S] with S = sqrt(3 / fan_in); fan_in is the product of all axes but the first.

    It keeps the variance of a layer's output near that of its input. Source: X. Glorot and Y. Bengio,
    "Understanding the difficulty of training deep feedforward neural networks", AISTATS 2010, in the form
    that is Caffe's default.
    """

    def initialize(self, shape: tuple[int, ...], random: np.random.Generator) -> NDArray[np.floating[Any]]:
        bound = sqrt(3 / prod(shape[1:]))
        return random.uniform(-bound, bound, shape)


@dataclass(frozen=True)
class GaussianInitializer(Initializer):
    """Normal with mean `mean` and standard deviation `std`."""

    mean: float = 0.0
    std: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", checks.number("GaussianInitializer", "mean", self.mean))
        object.__setattr__(self, "std", checks.number("GaussianInitializer", "std", self.std, low=0))

    def initialize(self, shape: tuple[int, ...], random: np.random.Generator) -> NDArray[np.floating[Any]]:
        return random.normal(self.mean, self.std, shape)
