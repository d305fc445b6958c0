"""The convolution kernel on the host; the op's reference stands in for cuDNN."""

import warnings

import numpy as np
import pytest
from convolution_case import NAN, check_both_halves, close
from convolution_case import Case as OnBackend
from host_backend import HostBackend
from mocha_cuda.cudnn.plans import NoPlanError, Wants
from mocha_cuda.cudnn.problem import Direction
from mocha_cuda.kernels.convolution import convolution

GEOMETRIES = [
    pytest.param(((2, 3, 8, 7), 4, (3, 3), (1, 1), (1, 1), 1), id="padded"),
    pytest.param(((3, 4, 9, 8), 6, (3, 2), (2, 1), (1, 0), 2), id="groups, strides"),
    pytest.param(((1, 1, 5, 5), 1, (5, 5), (9, 9), (0, 0), 1), id="one result"),
]


class Case(OnBackend):
    def __init__(self, rng, *geometry, dtype="float32", **options):
        super().__init__(rng, HostBackend(**options), *geometry, dtype)


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize(
    ("dtype", "precision", "tolerance"),
    [("float32", "tf32", 1e-5), ("float64", "bf16", 1e-12), ("float32", "bf16", 0.02)],
)
def test_both_halves(rng, geometry, dtype, precision, tolerance):
    case = Case(rng, *geometry, dtype=dtype, precision=precision)
    check_both_halves(case, tolerance)


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
@pytest.mark.parametrize("index", [0, 1, 2])
def test_gradients_alone_and_added(rng, index, precision):
    case = Case(rng, (2, 4, 6, 6), 4, (3, 3), (1, 1), (1, 1), 2, precision=precision)
    expected = case.expected()[1][index]
    only = [i == index for i in range(3)]
    found = case.backward(only)
    assert [array is not None for array in found] == only
    close(found[index], expected, 0.02 if precision == "bf16" else 1e-5)
    close(case.backward(only, only, begin=2.0)[index], expected + 2, 0.02 if precision == "bf16" else 1e-5)


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_nan_stays(rng, precision):
    case = Case(rng, (1, 1, 6, 6), 2, (3, 3), (1, 1), (0, 0), 1, precision=precision)
    case.x[0, 0, 0, 0] = NAN
    for y in (case.forward(), case.forward("rectified", 0.0), case.forward("rectified", 0.5)):
        assert np.isnan(y).sum() == 2
        assert np.isnan(y[0, :, 0, 0]).all()


@pytest.mark.parametrize(
    ("options", "dtype", "wants", "operands"),
    [
        ({"precision": "tf32"}, "float32", Wants(), "float32"),
        ({"precision": "float32"}, "float32", Wants(exact=True), "float32"),
        ({"precision": "bf16", "deterministic": True}, "float32", Wants(deterministic=True), "bfloat16"),
        ({"precision": "bf16"}, "float64", Wants(), "float64"),
    ],
)
def test_what_cudnn_is_asked(rng, options, dtype, wants, operands):
    case = Case(rng, (2, 4, 9, 8), 6, (3, 2), (2, 1), (1, 0), 2, dtype=dtype, **options)
    asked = case.backend.convolutions.asked
    assert {w for _, w in asked} == {wants}
    assert {p.dtype for p, _ in asked} == {operands}
    assert {p.direction for p, _ in asked} == set(Direction)
    assert {(p.x, p.w, p.y) for p, _ in asked} == {((2, 4, 9, 8), (6, 2, 2, 3), (2, 6, 8, 4))}
    # The op's pairs are (horizontal, vertical), cuDNN's are not.
    assert {(p.stride, p.pad) for p, _ in asked} == {((1, 2), (0, 1))}


def test_nothing_to_compute_is_declined(rng):
    assert Case(rng, (0, 1, 5, 5), 2, (3, 3), (1, 1), (0, 0), 1).kernel is None


def test_what_cudnn_cannot_do_is_declined_and_said(rng, monkeypatch):
    case = Case(rng, (1, 1, 5, 5), 2, (3, 3), (1, 1), (0, 0), 1)

    def none(problem, wants):
        raise NoPlanError("cuDNN has no plan for this. Try a newer cuDNN.")

    monkeypatch.setattr(case.backend.convolutions, "plan", none)
    with pytest.warns(
        RuntimeWarning, match=r"Layer 'conv' runs as its reference, slowly: cuDNN has no plan for this\."
    ):
        assert convolution(case.backend, case.call) is None


@pytest.mark.parametrize("value", [0.0, -0.0, 1.0, 1 + 2**-8, 1 + 3 * 2**-8, 3.4e38, 1e-40, np.inf, -np.inf, NAN])
def test_rounding_to_bfloat16(rng, value):
    case = Case(rng, (1, 1, 1, 3), 1, (1, 1), (1, 1), (0, 0), 1, precision="bf16")
    half, back = np.zeros(2, np.int32), np.zeros(3, np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        given = np.float32([value] * 3)
    case.kernel.rounded(given, half)()
    case.kernel.widened(half, back)()
    bits = given.view(np.uint32).astype(np.uint64)
    rounded = ((bits + 0x7FFF + (bits >> np.uint64(16) & np.uint64(1))) >> np.uint64(16) << np.uint64(16)).astype(
        np.uint32
    )
    expected = given if np.isnan(value) else rounded.view(np.float32)
    np.testing.assert_array_equal(back, expected)
    assert np.signbit(back).tolist() == np.signbit(expected).tolist()
