"""Division by a multiplication and a shift is exact below 2**31."""

import numpy as np
import pytest
from mocha_cuda.divide import by

MOST = 2**31 - 1


def quotients(n, by):
    """As csrc/divide.cuh."""
    factor, shift = np.uint64(by) & np.uint64(0xFFFFFFFF), np.uint64(by) >> np.uint64(32)
    return np.asarray(n, np.uint64) * factor >> shift


@pytest.mark.parametrize("divisor", [1, 2, 3, 5, 7, 9, 16, 641, 1023, 1024, 1025, 2**30 - 1, 2**30, 2**30 + 1, MOST])
def test_at_the_edges(divisor):
    multiples = np.unique([0, 1, 2, MOST // divisor // 2, MOST // divisor]) * divisor
    n = np.unique([*multiples, *multiples + 1, *multiples + divisor - 1, MOST - 1, MOST])
    n = n[n <= MOST]
    np.testing.assert_array_equal(quotients(n, by(divisor)), n // divisor)


def test_of_random_numbers(rng):
    n = rng.integers(0, MOST, 1000, endpoint=True)
    for divisor in (2 ** rng.uniform(0, 31, 1000)).astype(int):
        np.testing.assert_array_equal(quotients(n, by(int(divisor))), n // divisor)
