"""Dropout drops what the core's random numbers say, bit by bit."""

from math import prod

import numpy as np
import pytest
from against_reference import DTYPES, bench, check
from mocha_layers_std.dropout import Dropout

from mocha_core.graph.random import uniform
from mocha_core.testing import OpCase


def cells(iteration, first_row):
    return [np.asarray(iteration, np.int64), np.asarray(first_row, np.int64)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1), (5, 3), (3, 64), (7, 4, 33), (8,), (200, 30)], ids=str)
@pytest.mark.parametrize("ratio", [0.5, 0.1, 0.999, 1e-9])
@pytest.mark.parametrize(("iteration", "first_row"), [(0, 0), (12345, 2**32 - 300)])
def test_masks_are_the_core_s(dtype, shape, ratio, iteration, first_row, rng):
    op = Dropout(ratio, True, 2**64 - 3, 2**32 - 5)
    x = rng.uniform(1, 2, shape)
    made = bench(OpCase(op, [x, *cells(iteration, first_row)]), dtype)
    (y,) = made.forward()
    u = uniform(np, op.seed, op.stream, *cells(iteration, first_row), shape[0], prod(shape[1:]))
    np.testing.assert_array_equal(y != 0, u.reshape(shape) > ratio)
    (dx,) = made.backward([np.ones(shape, dtype)], [0], None)
    np.testing.assert_array_equal(dx != 0, y != 0)


def test_a_ratio_that_is_drawn_drops():
    """Numbers and ratio are equal in their last bit."""
    u = uniform(np, 1, 2, *cells(0, 0), 4, 8)
    for place in np.ndindex(u.shape):
        (y,) = bench(OpCase(Dropout(float(u[place]), True, 1, 2), [np.ones((4, 8)), *cells(0, 0)]), "float32").forward()
        np.testing.assert_array_equal(y != 0, u > u[place])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("auto_scale", [True, False])
def test_values_and_gradients(dtype, auto_scale, rng):
    check(Dropout(0.3, auto_scale, 5, 9), [rng.standard_normal((19, 3, 7)), *cells(3, 64)], dtype)


def test_zeros_are_made_of_what_is_not_finite():
    (y,) = bench(OpCase(Dropout(0.5, True, 1, 2), [np.full((8, 8), np.nan), *cells(0, 0)]), "float64").forward()
    assert (np.isnan(y) | (y == 0)).all()
    assert (y == 0).any()
