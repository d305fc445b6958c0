"""The relative errors allowed in results, by dtype, and the comparison with an error text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

#: The norm-wise relative errors allowed, against a more exact or an independent computation.
TOLERANCES: Mapping[str, float] = {"float32": 1e-5, "float64": 1e-12}

#: The error allowed in a whole training run is this many times that of one op.
OF_A_RUN = 100

#: The norm-wise relative error allowed in a gradient in float64, against central differences.
NUMERIC_GRADIENT = 1e-6

#: A lower limit for norms in relative errors, so that noise of the differences counts as zero.
SMALL = 1e-4
#: The lower limit for single numbers, which usually are sums whose terms cancel each other.
SMALL_NUMBER = 1.0


def assert_close(what: str, actual: Any, expected: Any, tolerance: float) -> None:
    """Raise `AssertionError` unless two arrays have one shape and differ by at most `tolerance`, relatively.

    Integer arrays must be equal. The message begins with `what`, and shows the worst element.
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
