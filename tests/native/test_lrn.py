"""LRN against the reference in float64: both modes, windows and powers, and what is not finite."""

import numpy as np
import pytest
from instruction_sets import HERE
from kernel_use import KernelUse
from mocha_layers_std.lrn import LRNAcrossChannel, LRNWithinChannel
from mocha_native.backend import NativeBackend

from mocha_core.testing.tolerances import TOLERANCES, assert_close

pytestmark = pytest.mark.usefixtures("lanes_for_all")

DTYPES = ["float32", "float64"]
KINDS = [LRNWithinChannel, LRNAcrossChannel]
#: In lanes, plain, and both with one row and one column.
SHAPES = [(17, 5, 6, 7), (16, 9, 8, 4), (2, 5, 6, 7), (1, 19, 5, 5), (3, 4, 1, 9), (20, 2, 9, 1), (1, 2, 23, 31)]


def results(backend, op, x, dy):
    use = KernelUse(backend, op, x)
    return [*use.forward(), *use.backward(dy), *use.backward(dy, add=True)]


def check(op, x, dtype, rng):
    x, dy = x.astype(dtype), rng.standard_normal(x.shape).astype(dtype)
    y = op.forward(np, x.astype(np.float64))
    (dx,) = op.backward(np, [dy.astype(np.float64)], [x.astype(np.float64)], [y], [True])
    # More threads than cores are slow, and share the work of both dtypes alike.
    threads = (1, 2, 3) if dtype == "float32" and NativeBackend().isa.name == HERE[0] else (1,)
    alone, *others = (results(NativeBackend(threads=n), op, x, dy) for n in threads)
    for other in others:
        for a, b in zip(alone, other, strict=True):
            assert a.tobytes() == b.tobytes()
    for name, found, expected in zip(("y", "dx", "added"), alone, [y, dx, dx + 1]):
        assert_close(name, found, expected, TOLERANCES[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_shapes(isa, dtype, kind, shape, rng):
    for kernel in (3, 5):
        check(kind(kernel, 0.7, 1.0, 0.75), rng.standard_normal(shape), dtype, rng)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("kernel", [1, 2, 4, 7, 13, 20])
@pytest.mark.parametrize("batch", [2, 17])
def test_windows(kind, kernel, batch, rng):
    """Also of even size, and larger than the image."""
    check(kind(kernel, 1.5, 1.0, 0.75), rng.standard_normal((batch, 6, 7, 5)), "float64", rng)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("power", [0.75, 0.5, 1.0, 0.0, 2.0, 0.6, -0.5])
def test_powers(isa, dtype, power, rng):
    for kind in KINDS:
        check(kind(3, 2.0, 0.5, power), rng.standard_normal((17, 3, 4, 5)), dtype, rng)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("power", [0.75, 0.5, 1.0, 0.3])
@pytest.mark.parametrize("batch", [1, 16])
def test_what_is_not_finite(isa, kind, power, batch):
    """Stays where the reference has it: an infinity's neighbours are zero, and those of NaN are NaN; no other is."""
    x = np.ones((batch, 9, 9, 9), np.float32)
    x[0, 4, 4, 4], x[0, 0, 0, 0], x[0, 8, 8, 8] = np.inf, np.nan, 1e30
    op = kind(3, 1.0, 1.0, power)
    y = KernelUse(NativeBackend(threads=1), op, x).forward()[0]
    with np.errstate(all="ignore"):
        expected = op.forward(np, x)
    np.testing.assert_allclose(y, expected, rtol=1e-5)
    op = kind(3, 1.0, 0.0, power)
    y = KernelUse(NativeBackend(threads=1), op, np.zeros_like(x)).forward()[0]
    assert np.isnan(y).all()  # 0 times infinity
