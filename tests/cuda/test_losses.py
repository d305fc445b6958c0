"""Softmax and losses: random shapes, few classes and many, one block that sums and several."""

import numpy as np
import pytest
from against_reference import DTYPES, check, forward
from mocha_layers_std.multinomial_logistic_loss import MultinomialLogisticLoss
from mocha_layers_std.softmax import Softmax
from mocha_layers_std.softmax_loss import SoftmaxLoss
from mocha_layers_std.square_loss import SquareLoss

#: One class, some lanes without a class, more classes than a warp, positions side by side, and sums of many blocks.
SHAPES = [
    (1, 1),
    (64, 10),
    (5, 33),
    (3, 257),
    (9, 3, 7),
    (2, 5, 4, 4),
    (300, 10),
    (1100, 2),
    (43, 3, 8, 8),
    (2, 3, 1500),
]


def cells(valid, status=0):
    return [np.asarray(valid, np.int32), np.asarray(status, np.int32)]


def drawn_labels(rng, shape):
    return rng.integers(0, shape[1], (shape[0], *shape[2:])).astype(np.int32)


def drawn_shape(rng):
    axes = int(rng.integers(2, 5))
    return tuple(map(int, rng.integers(1, {2: 60, 3: 20, 4: 9}[axes], axes)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_softmax(dtype, shape, rng):
    check(Softmax(), [rng.standard_normal(shape) * 3], dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("trial", range(10))
def test_random_shapes(dtype, trial, rng):
    shape = drawn_shape(rng)
    labels, valid = drawn_labels(rng, shape), int(rng.integers(1, shape[0] + 1))
    check(Softmax(), [rng.standard_normal(shape)], dtype)
    check(SoftmaxLoss(5, shape[1]), [rng.standard_normal(shape), labels, *cells(valid)], dtype)
    check(MultinomialLogisticLoss(5, shape[1]), [rng.uniform(0.1, 1, shape), labels, *cells(valid)], dtype)
    check(SquareLoss(), [rng.standard_normal(shape), rng.standard_normal(shape), cells(valid)[0]], dtype)


def test_softmax_of_what_is_not_finite():
    x = np.array([[0.0, np.nan, 1.0], [1e30, 0.0, -1e30], [np.inf, 0.0, 0.0]])
    with np.errstate(all="ignore"):
        expected = Softmax().forward(np, x)
    np.testing.assert_array_equal(forward(Softmax(), [x])[0], expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("part", [False, True])
def test_losses_of_classes(dtype, shape, part, rng):
    labels = drawn_labels(rng, shape)
    valid = (shape[0] + 1) // 2 if part else shape[0]
    check(SoftmaxLoss(5, shape[1]), [rng.standard_normal(shape), labels, *cells(valid)], dtype)
    probability = rng.uniform(0.1, 1, shape)
    check(MultinomialLogisticLoss(5, shape[1]), [probability, labels, *cells(valid)], dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_probability_of_zero_counts_as_very_small(dtype):
    probability, labels = np.array([[0.0, 1.0], [0.25, 0.75]]), np.array([0, 1], np.int32)
    check(MultinomialLogisticLoss(5, 2), [probability, labels, *cells(2)], dtype)
    check(SoftmaxLoss(5, 2), [1000 * probability, labels, *cells(2)], dtype)


@pytest.mark.parametrize("label", [-1, 3, 2**31 - 1, -(2**31)])
@pytest.mark.parametrize(("rows", "at"), [(4, 2), (1000, 990)])
def test_labels_out_of_range_are_reported_and_read_nothing(label, rows, at):
    labels = np.zeros(rows, np.int32)
    labels[at] = label
    x = np.full((rows, 3), 1 / 3)
    for op in (SoftmaxLoss(5, 3), MultinomialLogisticLoss(5, 3)):
        for valid, before, after in ((rows, 0, 5), (at, 0, 0), (rows, 2, 2)):
            inputs = [x, labels, *cells(valid, before)]
            loss, *_, status = forward(op, inputs)
            assert status == after
            assert loss == pytest.approx(op.forward(np, *inputs)[0])
        check(op, [x, labels, *cells(rows)], "float64")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(5, 3, 7), (1,), (64, 100), (3000, 2)], ids=str)
def test_square_loss(dtype, shape, rng):
    for valid in {shape[0], (shape[0] + 1) // 2}:
        check(SquareLoss(), [rng.standard_normal(shape), rng.standard_normal(shape), cells(valid)[0]], dtype)
