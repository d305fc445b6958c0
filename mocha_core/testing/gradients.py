"""Gradients by central differences, for comparison with computed ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Half the distance between the two points, for elements of size up to 1.
STEP = 1e-5


def numeric_gradient(
    function: Callable[[NDArray[np.float64]], Any], array: Any, step: float = STEP
) -> NDArray[np.float64]:
    """The gradient of a scalar function at `array`: (f(x + h) - f(x - h)) / 2h for each element x.

    h is `step * max(1, |x|)`. The error is of the order of h**2 times the third derivative, so keep `array`
    further than h from kinks.

    Args:
        function: takes a float64 array of the same shape and returns a number.
        array: the point.
        step: relative half distance.
    """
    point = np.array(array, np.float64)
    gradient = np.empty_like(point)
    for index in np.ndindex(point.shape):
        centre = float(point[index])
        h = step * max(1.0, abs(centre))
        point[index] = centre + h
        above = float(function(point))
        point[index] = centre - h
        gradient[index] = (above - float(function(point))) / (2 * h)
        point[index] = centre
    return gradient
