"""Inner products: which launches they are, and their values, also where cuBLASLt serves no epilogue or is not asked."""

from math import inf

import numpy as np
import pytest
from host_backend import HostBackend
from mocha_cuda import compiled
from mocha_cuda.compiled import Launch
from mocha_cuda.cublaslt.matmul import Epilogue
from mocha_cuda.kernels.inner_product import inner_product
from mocha_layers_std.inner_product import InnerProduct

from mocha_core.testing import TOLERANCES, OpCase, assert_close

WIDE = [((64, 5, 4, 4), 50), ((19, 33), 65), ((300, 2, 3), 4)]
NARROW = [((3, 7), 10), ((1, 1), 1), ((64, 500), 10), ((1, 31), 16), ((256, 2, 16), 5), ((37, 3, 11), 1)]
REFUSED = [(), (Epilogue.BIAS, Epilogue.RELU_BIAS, Epilogue.SUMS_OF_A)]


def made(rng, x, outputs):
    features = int(np.prod(x[1:]))
    inputs = [rng.standard_normal(x), rng.standard_normal((outputs, features)), rng.standard_normal(outputs)]
    return OpCase(InnerProduct(), inputs)


@pytest.fixture(params=[*WIDE, *NARROW], ids=str)
def case(request, rng):
    return made(rng, *request.param)


@pytest.fixture(params=WIDE, ids=str)
def wide(request, rng):
    return made(rng, *request.param)


@pytest.fixture(params=NARROW, ids=str)
def narrow(request, rng):
    return made(rng, *request.param)


def kernel_of(case, dtype, refused=(), **options):
    backend = HostBackend(**options)
    backend.matmuls.refused |= set(refused)
    return inner_product(backend, case.call(dtype))


def launches(run):
    parts = getattr(run, "parts", (run,))
    return [part.name if isinstance(part, Launch) else "product" for part in parts]


@pytest.mark.parametrize("refused", REFUSED, ids=["fused", "refused"])
@pytest.mark.parametrize("floor", [None, 0.0, 0.25, -0.5])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_forward(case, dtype, floor, refused):
    kernel, arrays = kernel_of(case, dtype, refused), case.arrays(dtype)
    x, w, b = case.arrays("float64")
    wanted = np.maximum(x.reshape(len(x), -1) @ w.T + b, -inf if floor is None else floor)
    y = np.full(wanted.shape, np.nan, dtype)
    bound = kernel.forward(arrays, [y], [False]) if floor is None else kernel.rectified(arrays, [y], [False], floor)
    bound()
    assert_close("y", y, wanted, TOLERANCES[dtype])
    fused = not refused and floor in (None, 0)
    assert launches(bound) == (["product"] if fused else ["product", "add_bias"])


@pytest.mark.parametrize("refused", REFUSED, ids=["fused", "refused"])
@pytest.mark.parametrize("wanted", [(0, 1, 2), (1, 2), (0,), (1,), (2,), (0, 2)], ids=str)
@pytest.mark.parametrize("add", [(False, False, False), (True, True, True), (False, True, False)], ids=str)
def test_backward(rng, wide, wanted, add, refused):
    case, kernel = wide, kernel_of(wide, "float32", refused)
    x, w, b = case.arrays("float32")
    dy = rng.standard_normal((len(x), len(b))).astype("float32")
    exact = [np.asarray(array, "float64") for array in (dy, x, w)]
    results = exact[0] @ exact[2], exact[0].T @ exact[1].reshape(len(x), -1), exact[0].sum(0)
    outs = [None, None, None]
    for i in wanted:
        outs[i] = np.full(case.inputs[i].shape, 2 if add[i] else np.nan, "float32")
    bound = kernel.backward([dy, x, w], outs, add)
    bound()
    for i in wanted:
        assert_close(f"gradient {i}", outs[i].reshape(results[i].shape), results[i] + 2 * add[i], TOLERANCES["float32"])
    fused = {1, 2} <= set(wanted) and not add[2] and not refused
    expected = (
        ["product"] * (1 in wanted) + ["bias_gradient"] * (2 in wanted and not fused) + ["product"] * (0 in wanted)
    )
    assert launches(bound) == expected


def gradients(kernel, case, dtype, dy, wanted, add, mask=None, floor=0.0):
    """Those that are wanted, added to twos; by one launch."""
    x, w, _ = case.arrays(dtype)
    outs = [
        np.full(a.shape, 2 if add[i] else np.nan, dtype) if i in wanted else None for i, a in enumerate(case.inputs)
    ]
    operands = [dy, x, w], outs, add
    bound = kernel.backward(*operands) if mask is None else kernel.bottom_masked(*operands, mask, floor)
    bound()
    assert launches(bound) == ["narrow_backward"]
    return outs


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("wanted", [(0, 1, 2), (0,), (1,), (2,), (0, 1), (0, 2), (1, 2)], ids=str)
@pytest.mark.parametrize("add", [(False, True, False), (True, False, True)], ids=str)
@pytest.mark.parametrize("floor", [None, 0.25, -0.5])
def test_backward_of_a_narrow_product_is_one_launch(rng, narrow, dtype, wanted, add, floor):
    """The mask has all kinds of numbers; those at the floor, and what is not a number, let nothing pass."""
    x, w, b = narrow.arrays("float64")
    dy = rng.standard_normal((len(x), len(b)))
    mask = None if floor is None else rng.choice([np.nan, np.inf, -np.inf, -1, 0, floor, 0.1, 1], x.shape).astype(dtype)
    exact = [dy @ w, dy.T @ x.reshape(len(x), -1), dy.sum(0)]
    if floor is not None:
        exact[0] = np.where(mask.reshape(exact[0].shape) > np.dtype(dtype).type(floor), exact[0], 0)
    found = gradients(kernel_of(narrow, dtype), narrow, dtype, dy.astype(dtype), wanted, add, mask, floor)
    for i in wanted:
        result = found[i].reshape(exact[i].shape)
        assert_close(f"gradient {i}", result, exact[i] + 2 * add[i], TOLERANCES[dtype])


def test_the_grid_of_a_narrow_product_changes_no_bit(rng, narrow, monkeypatch):
    dy = rng.standard_normal((len(narrow.inputs[0]), len(narrow.inputs[2]))).astype("float32")
    found = []
    for blocks in (1, 16, 10**6):
        monkeypatch.setattr(compiled, "BLOCKS", blocks)
        outs = gradients(kernel_of(narrow, "float32"), narrow, "float32", dy, (0, 1, 2), (False,) * 3)
        found.append([out.tobytes() for out in outs])
    assert found[0] == found[1] == found[2]


def test_nan_and_infinity_pass_a_narrow_product(rng):
    case = OpCase(InnerProduct(), [np.array([[np.inf, 1.0], [2.0, 3.0]]), np.ones((2, 2)), np.zeros(2)])
    dy = np.array([[np.nan, 1], [1, 0]], "float32")
    dx, dw, db = gradients(kernel_of(case, "float32"), case, "float32", dy, (0, 1, 2), (False,) * 3)
    np.testing.assert_array_equal(dx, [[np.nan] * 2, [1, 1]])
    np.testing.assert_array_equal(dw, [[np.nan] * 2, [np.inf, 1]])
    np.testing.assert_array_equal(db, [np.nan, 1])


@pytest.mark.parametrize(
    ("rows", "features", "outputs", "narrow"),
    [
        *[(256, 1024, 16, True), (256, 1025, 16, False), (256, 3, 16, True), (257, 3, 16, False)],
        *[(2, 8192, 1, True), (2, 8193, 1, False), (2, 3, 17, False)],
    ],
)
def test_own_kernels_are_for_what_is_cheap(rng, rows, features, outputs, narrow):
    case = made(rng, (rows, features), outputs)
    kernel, (x, w, _) = kernel_of(case, "float32"), case.arrays("float32")
    bound = kernel.backward([np.ones((rows, outputs), "float32"), x, w], [np.empty_like(x), None, None], [False] * 3)
    assert launches(bound) == (["narrow_backward"] if narrow else ["product"])
    assert kernel.masks_bottom == narrow


def test_nan_is_not_hidden_by_own_kernels(rng):
    case = OpCase(InnerProduct(), [np.array([[np.nan, 1.0], [2.0, 3.0]]), np.ones((2, 2)), np.zeros(2)])
    kernel = kernel_of(case, "float32", REFUSED[1])
    y = np.zeros((2, 2), "float32")
    kernel.rectified(case.arrays("float32"), [y], [False], 0.0)()
    assert np.isnan(y[0]).all()
    assert (y[1] == 5).all()


def test_precision_and_determinism_reach_the_library(rng, monkeypatch):
    case = OpCase(InnerProduct(), [np.ones((2, 3)), np.ones((17, 3)), np.ones(17)])
    kernel = kernel_of(case, "float32", precision="bf16", deterministic=True)
    asked = []
    bind = kernel.backend.matmuls.bind
    monkeypatch.setattr(kernel.backend.matmuls, "bind", lambda *a, **o: asked.append(o) or bind(*a, **o))
    x, w, b = case.arrays("float32")
    kernel.forward([x, w, b], [np.zeros((2, 17), "float32")], [False])
    kernel.backward([np.zeros((2, 17), "float32"), x, w], [np.empty_like(a) for a in (x, w, b)], [False] * 3)
    assert [(o["precision"], o["deterministic"]) for o in asked] == [("bf16", True)] * 3
