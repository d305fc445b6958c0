"""Pooling of images and of channels against the reference in float64: all windows, ties, what is not finite."""

from itertools import product

import numpy as np
import pytest
from instruction_sets import HERE
from kernel_use import KernelUse
from mocha_layers_std.channel_pooling import MaxChannelPooling, MeanChannelPooling
from mocha_layers_std.pooling import MaxPooling, MeanPooling
from mocha_native.backend import NativeBackend

from mocha_core.testing.tolerances import TOLERANCES, assert_close

pytestmark = pytest.mark.usefixtures("lanes_for_all")

DTYPES = ["float32", "float64"]
KINDS = [MaxPooling, MeanPooling]
CHANNEL_KINDS = [MaxChannelPooling, MeanChannelPooling]
#: Batch, channels, height, width; kernel, stride and pad as (width, height).
CASES = [
    ((17, 3, 8, 8), (2, 2), (2, 2), (0, 0)),
    ((16, 2, 9, 7), (2, 2), (2, 2), (0, 0)),
    ((33, 2, 8, 9), (3, 3), (2, 2), (0, 0)),
    ((20, 1, 7, 8), (3, 3), (2, 2), (1, 1)),
    ((19, 2, 6, 5), (3, 3), (1, 1), (1, 1)),
    ((17, 2, 5, 4), (3, 3), (1, 1), (0, 0)),
    ((18, 2, 6, 7), (7, 6), (1, 1), (0, 0)),
    ((18, 1, 13, 12), (12, 13), (12, 13), (0, 0)),
    ((17, 2, 11, 9), (4, 3), (3, 2), (2, 1)),
    ((17, 2, 9, 11), (2, 1), (3, 4), (1, 0)),
    ((16, 2, 3, 2), (5, 5), (2, 2), (2, 2)),
    ((16, 1, 1, 1), (3, 3), (2, 2), (1, 1)),
    ((17, 1, 4, 5), (1, 1), (1, 1), (0, 0)),
    ((1, 5, 8, 8), (2, 2), (2, 2), (0, 0)),
    ((2, 11, 7, 5), (3, 3), (2, 2), (1, 0)),
    ((1, 2, 13, 12), (12, 13), (1, 1), (0, 0)),
]


def results(backend, op, x, dy):
    """y, then dx written and added to ones, then the winners."""
    use = KernelUse(backend, op, x)
    y, *winners = use.forward()
    return [y, use.backward(dy)[0], use.backward(dy, add=True)[0], *winners]


def check(op, x, dtype, rng):
    x = x.astype(dtype)
    y, *winners = op.forward(np, x.astype(np.float64)) if op.saved else (op.forward(np, x.astype(np.float64)),)
    dy = rng.standard_normal(y.shape).astype(dtype)
    (dx,) = op.backward(np, [dy.astype(np.float64)], [x], [y, *winners], [True])
    # More threads than cores are slow, and share the work of both dtypes alike.
    threads = (1, 2, 3) if dtype == "float32" and NativeBackend().isa.name == HERE[0] else (1,)
    alone, *others = (results(NativeBackend(threads=n), op, x, dy) for n in threads)
    for other in others:
        for a, b in zip(alone, other, strict=True):
            assert a.tobytes() == b.tobytes()
    for name, found, expected in zip(("y", "dx", "added", "winners"), alone, [y, dx, dx + 1, *winners]):
        if op.saved and name in ("y", "winners"):
            np.testing.assert_array_equal(found, expected)
        else:
            assert_close(name, found, expected, TOLERANCES[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_windows(isa, dtype, kind, case, rng):
    shape, *windows = case
    check(kind(*windows, *shape[2:]), rng.standard_normal(shape), dtype, rng)


@pytest.mark.parametrize("kind", KINDS)
def test_random_windows(kind, rng):
    for _ in range(40):
        height, width, kw, kh, sw, sh = (int(n) for n in rng.integers(1, 7, 6))
        pw, ph = int(rng.integers(0, kw)), int(rng.integers(0, kh))
        kw, kh = min(kw, width + 2 * pw), min(kh, height + 2 * ph)
        if pw >= kw or ph >= kh:
            continue
        op = kind((kw, kh), (sw, sh), (pw, ph), height, width)
        check(op, rng.standard_normal((int(rng.integers(1, 20)), 2, height, width)), "float64", rng)


@pytest.mark.parametrize("batch", [2, 17])
@pytest.mark.parametrize(("kernel", "stride", "pad"), [(2, 2, 0), (3, 2, 0), (3, 1, 1), (4, 3, 1)])
def test_ties_and_what_is_not_finite(isa, batch, kernel, stride, pad, rng):
    """The first of equal elements wins, NaN always, padding never."""
    x = rng.choice([0.0, 1.0, -1.0, np.inf, -np.inf, np.nan], (batch, 3, 8, 7), p=[0.2, 0.2, 0.2, 0.1, 0.2, 0.1])
    x[0] = -np.inf
    x[1, 0] = np.nan
    op = MaxPooling(*((n, n) for n in (kernel, stride, pad)), 8, 7)
    check(op, x, "float32", rng)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", CHANNEL_KINDS)
@pytest.mark.parametrize("shape", [(17, 7, 3, 5), (3, 5, 2, 2), (33, 6)], ids=str)
def test_channels(isa, dtype, kind, shape, rng):
    for kernel, stride, pad in [(2, 2, (0, 0)), (3, 2, (1, 2)), (5, 1, (0, 4)), (1, 1, (0, 0))]:
        check(kind(kernel, stride, pad, shape[1]), rng.standard_normal(shape), dtype, rng)


@pytest.mark.parametrize(("kernel", "stride", "pad"), [(2, 2, 0), (3, 2, 0), (3, 1, 1), (5, 3, 2)])
@pytest.mark.parametrize("kind", KINDS)
def test_with_relu(isa, kind, kernel, stride, pad, rng):
    """After it, and in backward on dy and on dx, as if ReLU was there."""
    op = kind(*((n, n) for n in (kernel, stride, pad)), 8, 7)
    x = rng.standard_normal((20, 3, 8, 7)).astype(np.float32)
    use = KernelUse(NativeBackend(threads=2), op, x)
    y = use.forward()[0]
    dy = rng.standard_normal(y.shape).astype(np.float32)
    floor = 0.25
    kernel, (lanes,) = use.kernel, use.layouts.ins
    ins = [use.packed(x, lanes)]
    use.run(kernel.rectified(ins, use.outs, [False] * len(use.outs), floor))
    np.testing.assert_array_equal(use.results()[0], np.maximum(y, np.float32(floor)))
    operands = [use.packed(dy, lanes, True), *[None] * op.saved, None, None, *use.outs[1:]]
    masked_dy, masked_dx = np.where(y > floor, dy, 0), np.where(x > floor, use.backward(dy)[0], 0)
    for add, before in product((False, True), repeat=2):
        grad = use.packed_room(x.shape, x.dtype, lanes, 1)
        if before:
            use.run(kernel.top_masked(operands, [grad], [add], use.packed(y, lanes), floor))
            expected = use.backward(masked_dy, add=add)[0]
        else:
            use.run(kernel.bottom_masked(operands, [grad], [add], use.packed(x, lanes), floor))
            expected = masked_dx + add
        np.testing.assert_array_equal(use.plain(grad, use.call.ins[0], lanes), expected)
