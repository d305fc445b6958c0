"""Inner products: which launches they are, and their values, also where cuBLASLt serves no epilogue."""

from math import inf

import numpy as np
import pytest
from host_backend import HostBackend
from mocha_cuda.compiled import Launch
from mocha_cuda.cublaslt.matmul import Epilogue
from mocha_cuda.inner_product import inner_product
from mocha_layers_std.inner_product import InnerProduct

from mocha_core.testing import TOLERANCES, OpCase, assert_close

SHAPES = [((64, 5, 4, 4), 50), ((3, 7), 10), ((1, 1), 1), ((19, 33), 65), ((300, 2, 3), 4)]
REFUSED = [(), (Epilogue.BIAS, Epilogue.RELU_BIAS, Epilogue.SUMS_OF_A)]


@pytest.fixture(params=SHAPES, ids=str)
def case(request, rng):
    x, outputs = request.param
    features = int(np.prod(x[1:]))
    inputs = [rng.standard_normal(x), rng.standard_normal((outputs, features)), rng.standard_normal(outputs)]
    return OpCase(InnerProduct(), inputs)


def kernel_of(case, dtype, refused=(), **options):
    backend = HostBackend(**options)
    backend.device.matmuls.refused |= set(refused)
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
def test_backward(rng, case, wanted, add, refused):
    kernel = kernel_of(case, "float32", refused)
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


def test_nan_is_not_hidden_by_own_kernels(rng):
    case = OpCase(InnerProduct(), [np.array([[np.nan, 1.0], [2.0, 3.0]]), np.ones((2, 2)), np.zeros(2)])
    kernel = kernel_of(case, "float32", REFUSED[1])
    y = np.zeros((2, 2), "float32")
    kernel.rectified(case.arrays("float32"), [y], [False], 0.0)()
    assert np.isnan(y[0]).all()
    assert (y[1] == 5).all()


def test_precision_and_determinism_reach_the_library(rng, monkeypatch):
    case = OpCase(InnerProduct(), [np.ones((2, 3)), np.ones((4, 3)), np.ones(4)])
    kernel = kernel_of(case, "float32", precision="bf16", deterministic=True)
    asked = []
    bind = kernel.backend.device.matmuls.bind
    monkeypatch.setattr(kernel.backend.device.matmuls, "bind", lambda *a, **o: asked.append(o) or bind(*a, **o))
    x, w, b = case.arrays("float32")
    kernel.forward([x, w, b], [np.zeros((2, 4), "float32")], [False])
    kernel.backward([np.zeros((2, 4), "float32"), x, w], [np.empty_like(a) for a in (x, w, b)], [False] * 3)
    assert [(o["precision"], o["deterministic"]) for o in asked] == [("bf16", True)] * 3
