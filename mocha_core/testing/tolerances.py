"""How close numbers have to be, by dtype, and the comparison that says so in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Tolerance(NamedTuple):
    """Norm-wise relative errors that are still right."""

    outputs: float
    """Of what forward computes, against a more exact or an independent computation."""
    gradients: float
    """Of what backward computes, likewise."""


TOLERANCES: Mapping[str, Tolerance] = {
    "float32": Tolerance(outputs=1e-5, gradients=1e-5),
    "float64": Tolerance(outputs=1e-12, gradients=1e-12),
}

#: Of a gradient in float64 against central differences.
NUMERIC_GRADIENT = 1e-6

#: Norms below this count as this, so that the noise of differences passes for zero.
SMALL = 1e-4


def relative_error(actual: Any, expected: Any) -> float:
    """|actual - expected| / |expected| in Euclidean norms; NaN where either has one."""
    difference = np.linalg.norm(np.subtract(actual, expected, dtype=np.float64))
    return float(difference / max(float(np.linalg.norm(np.asarray(expected, np.float64))), SMALL))


def assert_close(what: str, actual: Any, expected: Any, tolerance: float) -> None:
    """Raise `AssertionError` unless two arrays have one shape and differ by at most `tolerance`, relatively.

    Arrays of whole numbers have to be equal. The message begins with `what`, and shows the worst element.
    """
    actual, expected = np.asarray(actual), np.asarray(expected)
    if actual.shape != expected.shape:
        raise AssertionError(f"{what}: expected shape {expected.shape}, received {actual.shape}.")
    whole = actual.dtype.kind in "iub" and expected.dtype.kind in "iub"
    if whole and np.array_equal(actual, expected):
        return
    error = relative_error(actual, expected)
    # A NaN is not close to anything.
    if whole or not error <= tolerance:
        raise AssertionError(f"{what}: {_difference(actual, expected, error, 0.0 if whole else tolerance)}")


def _difference(actual: NDArray[Any], expected: NDArray[Any], error: float, tolerance: float) -> str:
    distance = np.abs(np.subtract(actual, expected, dtype=np.float64))
    worst = np.unravel_index(int(np.argmax(distance)), distance.shape)
    place = f" at {tuple(map(int, worst))}" if worst else ""
    return (
        f"relative error {error:.2g}, expected at most {tolerance:g}. The worst element is{place}: expected "
        f"{expected[worst]}, received {actual[worst]}."
    )
