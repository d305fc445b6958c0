"""LRN on the host against the reference in float64: both modes, windows, powers, planes cut into pieces."""

import numpy as np
import pytest
from against_reference import DTYPES
from guarded import Guarded, chosen
from host_backend import HostBackend
from mocha_cuda.compiled import CUDAKernel
from mocha_layers_std.lrn import LRNAcrossChannel, LRNWithinChannel

from mocha_core.testing.tolerances import TOLERANCES, assert_close

KINDS = [LRNWithinChannel, LRNAcrossChannel]
#: Several planes in a tile, one, and pieces of one: squares, rows and columns.
SHAPES = [
    (17, 5, 6, 7),
    (3, 6, 16, 16),
    (2, 2, 32, 32),
    (3, 4, 1, 9),
    (20, 2, 9, 1),
    (1, 2, 33, 32),
    (1, 2, 41, 65),
    (2, 1, 3, 700),
    (1, 1, 1100, 1),
    (1, 200, 5, 5),
    (2, 70, 5, 7),
]


def check(op, x, dtype, rng, shift=0):
    x, dy = x.astype(dtype), rng.standard_normal(x.shape).astype(dtype)
    y = op.forward(np, x.astype(np.float64))
    (dx,) = op.backward(np, [dy.astype(np.float64)], [x.astype(np.float64)], [y], [True])
    use = Guarded(op, x, shift)
    assert_close("y", use.forward()[0], y, TOLERANCES[dtype])
    assert_close("dx", use.backward(dy), dx, TOLERANCES[dtype])
    assert_close("added", use.backward(dy, add=True), dx + 1, TOLERANCES[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_shapes(dtype, kind, shape, rng):
    for kernel in (3, 5):
        check(kind(kernel, 0.7, 1.0, 0.75), rng.standard_normal(shape), dtype, rng, shift=1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("kernel", [1, 2, 4, 7, 13, 20])
def test_windows(kind, kernel, rng):
    """Also of even size, and larger than the image."""
    check(kind(kernel, 1.5, 1.0, 0.75), rng.standard_normal((5, 6, 7, 5)), "float64", rng)


@pytest.mark.parametrize("kernel", [1, 2, 4, 7, 11])
def test_windows_in_pieces(kernel, rng):
    check(LRNWithinChannel(kernel, 1.5, 1.0, 0.75), rng.standard_normal((1, 1, 70, 40)), "float64", rng)
    check(LRNAcrossChannel(kernel, 1.5, 1.0, 0.75), rng.standard_normal((1, 150, 3, 5)), "float64", rng)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("power", [0.75, 0.5, 1.0, 0.0, 2.0, 0.6, -0.5])
def test_powers(dtype, kind, power, rng):
    check(kind(3, 2.0, 0.5, power), rng.standard_normal((5, 3, 4, 5)), dtype, rng)


@pytest.mark.parametrize("kind", KINDS)
def test_random_uses(kind, rng):
    for _ in range(15):
        shape = tuple(int(n) for n in rng.integers(1, [4, 40, 40, 40]))
        kernel, power = int(rng.integers(1, 8)), float(rng.choice([0.75, 0.5, 0.9]))
        check(kind(kernel, 0.5, 1.0, power), rng.standard_normal(shape), "float64", rng)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("power", [0.75, 0.5, 1.0, 0.3])
def test_what_is_not_finite(kind, power):
    """Stays where the reference has it: an infinity's neighbours are zero, and those of NaN are NaN; no other is."""
    x = np.ones((2, 9, 9, 9), np.float32)
    x[0, 4, 4, 4], x[0, 0, 0, 0], x[0, 8, 8, 8], x[1, 4, 4, 4] = np.inf, np.nan, 1e30, 1e18
    op = kind(3, 1.0, 1.0, power)
    with np.errstate(all="ignore"):
        expected = op.forward(np, x)
        (dx,) = op.backward(np, [np.ones_like(x)], [x], [expected], [True])
    use = Guarded(op, x)
    np.testing.assert_allclose(use.forward()[0], expected, rtol=1e-5)
    np.testing.assert_allclose(use.backward(np.ones_like(x)), dx, rtol=1e-4, atol=1e-6)
    use = Guarded(kind(3, 1.0, 0.0, power), np.zeros_like(x))
    assert np.isnan(use.forward()[0]).all()  # 0 times infinity


@pytest.mark.parametrize(
    ("kind", "shape"), [(LRNWithinChannel, (1, 1, 64, 64)), (LRNAcrossChannel, (1, 200, 40, 40))], ids=str
)
def test_windows_too_large_for_pieces_are_left_to_the_reference(kind, shape):
    x = np.broadcast_to(np.float32(0), shape)
    backend = HostBackend()
    for kernel, fits in [(5, True), (13, True), (60, False)]:
        _, kernel = chosen(kind(kernel, 1.0, 1.0, 0.75), x, backend=backend)
        assert isinstance(kernel, CUDAKernel) == fits
