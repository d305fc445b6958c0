"""`mocha_native.matmul` against NumPy in float64."""

import numpy as np
import pytest
from mocha_native import matmul
from mocha_native.api import NativeBackend, bind_matmul

from mocha_core.errors import MochaError, ShapeError

#: (rows, columns, depth): single elements, primes, tiles and one more or less, several chunks of terms, and
#: strides that are powers of two.
SHAPES = [
    (1, 1, 1), (1, 129, 7), (2, 31, 40), (5, 257, 35), (6, 64, 16), (7, 65, 17), (8, 63, 255), (11, 48, 256),
    (12, 16, 257), (13, 17, 13), (23, 97, 101), (25, 33, 700), (97, 300, 1100), (1, 2048, 2048), (12, 1024, 64),
    (130, 256, 512), (31, 5, 5000), (300, 70, 2), (530, 290, 390),
]  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_all_transposes_and_threads(isa, dtype, shape, rng):
    rows, columns, depth = shape
    a, b = rng.standard_normal((rows, depth)).astype(dtype), rng.standard_normal((depth, columns)).astype(dtype)
    bound = np.abs(a).astype("float64") @ np.abs(b) * np.finfo(dtype).eps * depth**0.5 * 2
    expected = a.astype("float64") @ b.astype("float64")
    for left in (False, True):
        for right in (False, True):
            first = np.ascontiguousarray(a.T) if left else a
            second = np.ascontiguousarray(b.T) if right else b
            found = [
                matmul(first, second, transpose_a=left, transpose_b=right, backend=NativeBackend(threads=threads))
                for threads in (1, 2, 3)
            ]
            assert (np.abs(found[0] - expected) <= bound).all()
            assert found[0].tobytes() == found[1].tobytes() == found[2].tobytes()


def test_zero_rows_stay_exactly_zero(isa, rng):
    a, b = rng.standard_normal((40, 600)), rng.standard_normal((600, 50))
    a[::3] = 0
    assert not matmul(a, b)[::3].any()


def test_no_terms_give_zeros_and_no_rows_give_no_rows(isa):
    assert not matmul(np.empty((3, 0)), np.empty((0, 40))).any()
    assert not matmul(np.empty((30, 0)), np.empty((40, 0)), transpose_b=True).any()
    assert matmul(np.empty((0, 4)), np.empty((4, 40))).shape == (0, 40)


def test_a_step_writes_into_an_array_of_the_caller_each_time_it_is_called(isa, rng):
    a, b, out = rng.standard_normal((20, 30)), rng.standard_normal((30, 40)), np.full((20, 40), np.nan)
    step = bind_matmul(NativeBackend(), a, b, out)
    for _ in range(2):
        step()
        np.testing.assert_allclose(out, a @ b, rtol=1e-10, atol=1e-12)
        a += 1
    with pytest.raises(ShapeError, match=r"expected \(20, 40\)"):
        bind_matmul(NativeBackend(), a, b, out.T.copy())


def test_operands_need_no_alignment(isa, rng):
    memory = rng.standard_normal(1 + 50 * 70)
    a, b = memory[1:].reshape(50, 70), rng.standard_normal((70, 90))
    np.testing.assert_allclose(matmul(a, b), a @ b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (np.zeros((2, 3)), np.zeros((4, 2)), "has 3 columns, and b of shape .* has 4 rows"),
        (np.zeros((2, 3)), np.zeros((3, 2), "float32"), "expected one dtype"),
        (np.zeros((2, 3), int), np.zeros((3, 2)), "a is int64"),
        (np.zeros((2, 3)), [[1.0]], "b is list"),
        (np.zeros(3), np.zeros((3, 2)), "expected a matrix"),
        (np.zeros((3, 2)).T, np.zeros((3, 2)), "C-ordered"),
    ],
)
def test_wrong_operands_are_refused(a, b, message):
    with pytest.raises(MochaError, match=message):
        matmul(a, b)
