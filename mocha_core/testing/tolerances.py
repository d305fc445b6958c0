"""How close numbers have to be, by dtype, and the comparison that says so in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

#: Norm-wise relative errors that are still right, against a more exact or an independent computation.
TOLERANCES: Mapping[str, float] = {"float32": 1e-5, "float64": 1e-12}

#: How much less exact than one op a whole training run may be.
OF_A_RUN = 100

#: The same as `TOLERANCES`, of a gradient in float64 against central differences.
NUMERIC_GRADIENT = 1e-6

#: Norms below it count as this, so that the noise of differences passes for zero.
SMALL = 1e-4
#: The same of a number alone, which is usually a sum whose terms cancel each other.
SMALL_NUMBER = 1.0


def assert_close(what: str, actual: Any, expected: Any, tolerance: float) -> None:
    """Raise `AssertionError` unless two arrays have one shape and differ by at most `tolerance`, relatively.

    Arrays of whole numbers have to be equal. The message begins with `what`, and shows the worst element.
    """
    actual, expected = np.asarray(actual), np.asarray(expected)
    if actual.shape != expected.shape:
        raise AssertionError(f"{what}: expected shape {expected.shape}, received {actual.shape}.")
    if actual.dtype.kind in "iub" and expected.dtype.kind in "iub":
        tolerance = 0.0
    distance = np.abs(np.subtract(actual, expected, dtype=np.float64))
    size = max(float(np.linalg.norm(expected)), SMALL if expected.ndim else SMALL_NUMBER)
    error = np.linalg.norm(distance) / size
    # A NaN is not close to anything.
    if not error <= tolerance:
        worst = np.unravel_index(int(np.argmax(distance)), distance.shape)
        raise AssertionError(
            f"{what}: relative error {error:.2g}, expected at most {tolerance:g}. The worst element is at "
            f"{tuple(map(int, worst))}: expected {expected[worst]}, received {actual[worst]}."
        )
