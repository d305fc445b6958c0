"""Inputs for tests, away from the kinks at which a gradient is not defined. All are float64 or int32."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray


def distinct(shape: tuple[int, ...], seed: int = 0, low: float = -1.0, high: float = 1.0) -> NDArray[np.float64]:
    """Different numbers in (low, high), evenly spaced and in random order, for maxima and rectifiers.

    If low is -high, no number is closer to zero than half the spacing.
    """
    size = prod(shape)
    places = size + size % 2
    values = low + (high - low) * (np.arange(places) + 0.5) / max(places, 1)
    return np.random.default_rng(seed).permutation(values)[:size].reshape(shape)


def away_from(array: NDArray[np.float64], point: float, margin: float = 0.05) -> NDArray[np.float64]:
    """The array with elements closer than `margin` to `point` moved to that distance."""
    side = np.where(array < point, -1.0, 1.0)
    return np.where(np.abs(array - point) < margin, point + side * margin, array)


def labels(shape: tuple[int, ...], classes: int, seed: int = 0) -> NDArray[np.int32]:
    """Class indices 0 to `classes` - 1."""
    return np.random.default_rng(seed).integers(classes, size=shape).astype(np.int32)


def probabilities(shape: tuple[int, ...], seed: int = 0) -> NDArray[np.float64]:
    """Positive numbers that sum to 1 along axis 1, none close to 0."""
    positive = distinct(shape, seed, 0.2, 1.0)
    return np.asarray(positive / positive.sum(axis=1, keepdims=True))


def filled(bottom: Any, seed: int) -> NDArray[Any]:
    """An input given as an array, or as a shape to be filled with `distinct` numbers."""
    if isinstance(bottom, tuple) and all(isinstance(size, int) for size in bottom):
        return distinct(bottom, seed)
    return np.asarray(bottom)


def constant(arrays: Iterable[NDArray[Any]]) -> list[NDArray[Any]]:
    """Read-only copies: a `MemoryDataLayer` may keep them on a device."""
    copies = [np.array(array) for array in arrays]
    for copy in copies:
        copy.flags.writeable = False
    return copies
