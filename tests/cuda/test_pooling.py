"""Pooling of images and of channels on the host against the reference in float64: all windows, ties, fused ReLUs."""

import numpy as np
import pytest
from against_reference import DTYPES
from guarded import Guarded
from mocha_layers_std.channel_pooling import MaxChannelPooling, MeanChannelPooling
from mocha_layers_std.pooling import MaxPooling, MeanPooling

from mocha_core.testing.tolerances import TOLERANCES, assert_close

KINDS = [MaxPooling, MeanPooling]
CHANNEL_KINDS = [MaxChannelPooling, MeanChannelPooling]
#: Batch, channels, height, width; kernel, stride and pad as (width, height).
CASES = [
    ((7, 3, 8, 8), (2, 2), (2, 2), (0, 0)),
    ((3, 2, 9, 7), (2, 2), (2, 2), (0, 0)),
    ((3, 2, 8, 9), (3, 3), (2, 2), (0, 0)),
    ((2, 1, 7, 8), (3, 3), (2, 2), (1, 1)),
    ((2, 3, 8, 6), (3, 3), (2, 2), (2, 2)),
    ((2, 3, 7, 8), (2, 2), (2, 2), (1, 0)),
    ((9, 2, 32, 32), (3, 3), (2, 2), (0, 0)),
    ((2, 2, 1, 1), (3, 3), (2, 2), (1, 1)),
    ((2, 2, 1, 1), (3, 3), (2, 2), (2, 2)),
    ((2, 2, 2, 3), (3, 3), (2, 2), (2, 2)),
    ((2, 2, 6, 5), (3, 3), (1, 1), (1, 1)),
    ((2, 2, 6, 7), (7, 6), (1, 1), (0, 0)),
    ((2, 1, 13, 12), (12, 13), (12, 13), (0, 0)),
    ((2, 2, 11, 9), (4, 3), (3, 2), (2, 1)),
    ((2, 2, 9, 11), (2, 1), (3, 4), (1, 0)),
    ((2, 2, 3, 2), (5, 5), (2, 2), (2, 2)),
    ((2, 1, 4, 5), (1, 1), (1, 1), (0, 0)),
]


def check(op, x, dtype, rng, shift=0):
    x = x.astype(dtype)
    results = op.forward(np, x.astype(np.float64))
    y, *winners = results if op.saved else (results,)
    dy = rng.standard_normal(y.shape).astype(dtype)
    (dx,) = op.backward(np, [dy.astype(np.float64)], [x], [y, *winners], [True])
    use = Guarded(op, x, shift)
    found = use.forward()
    for result, expected in zip(found, [y, *winners], strict=True):
        if op.saved:
            np.testing.assert_array_equal(result, expected)
        else:
            assert_close("y", result, expected, TOLERANCES[dtype])
    assert_close("dx", use.backward(dy), dx, TOLERANCES[dtype])
    assert_close("added", use.backward(dy, add=True), dx + 1, TOLERANCES[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_windows(dtype, kind, case, rng):
    shape, *windows = case
    check(kind(*windows, *shape[2:]), rng.standard_normal(shape), dtype, rng)


@pytest.mark.parametrize("kind", KINDS)
def test_random_windows(kind, rng):
    tried = 0
    while tried < 60:
        height, width, kw, kh, sw, sh = (int(n) for n in rng.integers(1, 8, 6))
        pw, ph = int(rng.integers(0, kw)), int(rng.integers(0, kh))
        if kw > width + 2 * pw or kh > height + 2 * ph:
            continue
        tried += 1
        shape = (*(int(n) for n in rng.integers(1, 5, 2)), height, width)
        check(kind((kw, kh), (sw, sh), (pw, ph), height, width), rng.standard_normal(shape), "float64", rng)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kernel", [2, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_arrays_that_begin_anywhere(dtype, kernel, kind, rng):
    """Pairs are written only where they are aligned."""
    op = kind((kernel, kernel), (2, 2), (0, 0), 6, 8)
    check(op, rng.standard_normal((2, 3, 6, 8)), dtype, rng, shift=1)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("kernel", "stride", "pad"), [(2, 2, 0), (3, 2, 0), (3, 2, 1), (3, 1, 1), (4, 3, 1)])
def test_ties_and_what_is_not_finite(dtype, kernel, stride, pad, rng):
    """The first of equal elements wins, NaN always, padding never."""
    x = rng.choice([0.0, 1.0, -1.0, np.inf, -np.inf, np.nan], (4, 3, 8, 7), p=[0.2, 0.2, 0.2, 0.1, 0.2, 0.1])
    x[0], x[1, 0] = -np.inf, np.nan
    check(MaxPooling(*((n, n) for n in (kernel, stride, pad)), 8, 7), x, dtype, rng)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", CHANNEL_KINDS)
@pytest.mark.parametrize("shape", [(17, 7, 3, 5), (3, 5, 2, 2), (33, 6), (2, 5, 30, 31)], ids=str)
def test_channels(dtype, kind, shape, rng):
    for kernel, stride, pad in [(2, 2, (0, 0)), (3, 2, (1, 2)), (5, 1, (0, 4)), (1, 1, (0, 0)), (2, 4, (0, 0))]:
        check(kind(kernel, stride, pad, shape[1]), rng.standard_normal(shape), dtype, rng)


def test_ties_among_channels(rng):
    x = rng.choice([0.0, 1.0, -np.inf, np.nan], (3, 6, 4, 5), p=[0.4, 0.3, 0.2, 0.1])
    x[0] = -np.inf
    check(MaxChannelPooling(3, 2, (1, 1), 6), x, "float64", rng)


def with_relu(op, x, rng):
    """After it, and in backward on dy and on dx, as if ReLU was there."""
    floor = 0.25
    use = Guarded(op, x)
    y, *winners = use.forward()
    rectified, *same = use.forward(floor)
    np.testing.assert_array_equal(rectified, np.where(y <= x.dtype.type(floor), x.dtype.type(floor), y))
    for a, b in zip(winners, same, strict=True):
        np.testing.assert_array_equal(a, b)
    dy = rng.standard_normal(y.shape).astype(x.dtype)
    for add in (False, True):
        expected = use.backward(np.where(rectified > floor, dy, 0).astype(x.dtype), add)
        np.testing.assert_array_equal(use.backward(dy, add, "top_masked", rectified, floor), expected)
        expected = np.where(x > floor, use.backward(dy), 0) + add
        np.testing.assert_array_equal(use.backward(dy, add, "bottom_masked", x, floor), expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("kernel", "stride", "pad"), [(2, 2, 0), (3, 2, 0), (3, 2, 1), (3, 1, 1), (5, 3, 2)])
def test_with_relu(dtype, kind, kernel, stride, pad, rng):
    op = kind(*((n, n) for n in (kernel, stride, pad)), 8, 7)
    x = rng.standard_normal((3, 2, 8, 7)).astype(dtype)
    x[0, 0, 0, 0] = np.nan
    with_relu(op, x, rng)


@pytest.mark.parametrize("kind", CHANNEL_KINDS)
def test_channels_with_relu(kind, rng):
    with_relu(kind(3, 2, (1, 1), 6), rng.standard_normal((3, 6, 4, 5)).astype(np.float32), rng)


def test_forward_whose_winners_nobody_reads(rng):
    x = rng.standard_normal((2, 2, 6, 6)).astype(np.float32)
    use = Guarded(MaxPooling((3, 3), (2, 2), (0, 0), 6, 6), x)
    expected = use.forward()[0]
    alone = use.room(expected.shape, x.dtype)
    use.run(use.kernel.forward([use.x], [alone, None], [False, False]))
    np.testing.assert_array_equal(alone, expected)
