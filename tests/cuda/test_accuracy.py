"""Right predictions are counted exactly, whichever threads count them."""

import numpy as np
import pytest
from against_reference import DTYPES, check, forward
from mocha_layers_std.accuracy import Accuracy

SHAPES = [(1, 1), (9, 4), (100, 10), (5, 70), (9, 4, 5), (300, 10), (2, 3, 1500), (43, 3, 8, 8)]


def inputs(rng, shape, valid, dtype="float64"):
    """Many predictions are equal, some NaN."""
    x = rng.integers(0, 3, shape).astype(dtype)
    x[rng.random(shape) < 0.02] = np.nan
    labels = rng.integers(0, shape[1], (shape[0], *shape[2:])).astype(np.int32)
    return [x, labels, np.asarray(valid, np.int32), np.asarray(0, np.int32), np.array([2.0, 3.0])]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_accuracy(dtype, shape, rng):
    for valid in {shape[0], (shape[0] + 1) // 2}:
        check(Accuracy(5, shape[1]), inputs(rng, shape, valid), dtype, double=[4])


def test_nothing_is_larger_than_nothing():
    x = np.array([[-np.inf] * 3, [-np.inf, np.nan, np.nan], [np.nan, np.inf, 1]])
    labels, cells = np.array([0, 1, 0], np.int32), [np.asarray(3, np.int32), np.asarray(0, np.int32)]
    _, total = forward(Accuracy(5, 3), [x, labels, *cells, np.zeros(2)])
    assert list(total) == [3, 3]


@pytest.mark.parametrize("label", [-1, 3, 2**31 - 1, -(2**31)])
@pytest.mark.parametrize(("rows", "at"), [(4, 2), (1000, 990)])
def test_labels_out_of_range_are_reported(label, rows, at, rng):
    given = inputs(rng, (rows, 3), rows)
    given[1][at] = label
    status, total = forward(Accuracy(5, 3), given)
    assert status == 5
    np.testing.assert_array_equal(total, Accuracy(5, 3).forward(np, *given)[1])
    given[2] = np.asarray(at, np.int32)
    assert forward(Accuracy(5, 3), given)[0] == 0
