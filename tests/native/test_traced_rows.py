"""References that reduce rows, or take one row for all: traced, and computed in C as NumPy computes them."""

import numpy as np
import pytest
from kernel_use import KernelUse
from mocha_native.backend import NativeBackend
from traced_ops import Softmax

from mocha_core.graph.op import Op
from mocha_core.graph.value import Spec

DTYPES = ["float32", "float64"]
#: Rows shorter than a vector, than a block, and longer; one row, and more rows than parts.
SHAPES = [(1, 7), (3, 1), (5, 10), (7, 128), (37, 300), (2, 3, 1000), (2, 5000)]


class LayerNorm(Op):
    """y = (x - mean) / root * scale + shift, with root = sqrt(variance + epsilon), over the last axis."""

    name = "acme.layer_norm"
    backward_reads = ("x0", "x1", "y1", "y2")
    saved = 2
    epsilon: float = 1e-5

    def infer(self, x, scale, shift):
        row = Spec((*x.shape[:-1], 1), x.dtype)
        return x, row, row

    def forward(self, xp, x, scale, shift):
        mean = xp.mean(x, axis=-1, keepdims=True)
        centred = x - mean
        root = xp.sqrt(xp.mean(xp.square(centred), axis=-1, keepdims=True) + self.epsilon)
        return centred / root * scale + shift, mean, root

    def backward(self, xp, dy, x, y, wanted):
        normal = (x[0] - y[1]) / y[2]
        scaled = dy[0] * x[1]
        along = xp.mean(scaled * normal, axis=-1, keepdims=True)
        dx = (scaled - xp.mean(scaled, axis=-1, keepdims=True) - normal * along) / y[2]
        others = tuple(range(x[0].ndim - 1))
        return dx, xp.sum(dy[0] * normal, axis=others), xp.sum(dy[0], axis=others)


class RMSNorm(Op):
    """y = x / sqrt(mean(x**2) + epsilon), over the last axis."""

    name = "acme.rms_norm"
    backward_reads = ("x0",)

    def infer(self, x):
        return (x,)

    def root(self, xp, x):
        return xp.sqrt(xp.mean(x * x, axis=-1, keepdims=True) + 1e-6)

    def forward(self, xp, x):
        return x / self.root(xp, x)

    def backward(self, xp, dy, x, y, wanted):
        root = self.root(xp, x[0])
        along = xp.mean(dy[0] * x[0], axis=-1, keepdims=True)
        return ((dy[0] - x[0] * along / xp.square(root)) / root,)


class Of(Op):
    """A function of arrays without backward; its output has the shape of the function's on zeros."""

    name = "acme.rows"
    differentiable = ()
    function: object

    def infer(self, *x):
        y = self.function(np, *(np.ones(s.shape, s.dtype) for s in x))
        return (Spec(y.shape, y.dtype.name),)

    def forward(self, xp, *x):
        return self.function(xp, *x)


def check(op, *arrays, dy, close):
    """Compares both halves with NumPy in float64, and the bytes of all numbers of threads."""
    wide = [a.astype(np.float64) for a in arrays]
    y = op.forward(np, *wide)
    y = y if isinstance(y, tuple) else (y,)
    expected = op.backward(np, [dy.astype(np.float64), *[None] * (len(y) - 1)], wide, y, [True] * len(arrays))
    found = []
    for threads in (1, 2, 3):
        use = KernelUse(NativeBackend(threads=threads), op, *arrays)
        assert use.kernel.label == f"traced {op.name}"
        results = [*use.forward(), *use.backward(dy)]
        found.append([array.tobytes() for array in results])
        for a, b in zip(results, (*y, *expected), strict=True):
            np.testing.assert_allclose(a, b, close, close * max(1, np.abs(b).max()))
        for a, b in zip(use.backward(dy, add=True), expected, strict=True):
            np.testing.assert_allclose(a, b + 1, close, close * max(1, np.abs(b).max()))
    assert found[0] == found[1] == found[2]


CLOSE = {"float32": 2e-5, "float64": 1e-12}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("op", [Softmax(), RMSNorm()], ids=lambda op: op.name)
def test_rows(isa, op, dtype, shape, rng):
    x, dy = rng.standard_normal((2, *shape)).astype(dtype)
    check(op, x + 1, dy=dy, close=CLOSE[dtype])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_layer_norm(isa, dtype, shape, rng):
    x, dy = rng.standard_normal((2, *shape)).astype(dtype)
    scale, shift = rng.standard_normal((2, shape[-1])).astype(dtype)
    if shape[-1] == 1:  # the root is that of epsilon, which makes rounding errors large
        x = np.zeros_like(x)
    check(LayerNorm(), x, scale, shift, dy=dy, close=5 * CLOSE[dtype])


ROWS = {
    "max": lambda xp, x, row: x - xp.max(x, axis=-1, keepdims=True),
    "min": lambda xp, x, row: x * xp.min(x, axis=-1, keepdims=True),
    "log of a sum": lambda xp, x, row: xp.log(xp.sum(xp.exp(x), axis=-1)),
    "two axes": lambda xp, x, row: x / xp.sum(x, axis=(-2, -1), keepdims=True),
    "without keepdims": lambda xp, x, row: x - xp.expand_dims(xp.mean(x, axis=-1), axis=-1),
    "reshaped": lambda xp, x, row: x - xp.reshape(xp.mean(x, axis=2), (3, 4, 1)),
    "a row for all": lambda xp, x, row: x * row + xp.abs(row),
    "a row in a reduction": lambda xp, x, row: x - xp.sum(x * row, axis=-1, keepdims=True),
    "masks": lambda xp, x, row: xp.where(x > xp.mean(x, axis=-1, keepdims=True), x, 0.0),
}  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ROWS)
def test_functions_of_rows(isa, name, dtype, rng):
    x, row = rng.standard_normal((3, 4, 77)).astype(dtype), rng.standard_normal(77).astype(dtype)
    operands = [x, row] if "a row" in name else [x]
    op = Of(lambda xp, x, row=None: ROWS[name](xp, x, row))
    use = KernelUse(NativeBackend(threads=2), op, *operands)
    assert use.kernel.label == "traced acme.rows"
    close = 10 * CLOSE[dtype]
    np.testing.assert_allclose(use.forward()[0], op.forward(np, *operands), close, close)


@pytest.mark.parametrize("function", ["max", "min"])
def test_nan_in_a_row(isa, function):
    x = np.ones((3, 200), "float32")
    x[1, 150] = np.nan
    op = Of(lambda xp, x: getattr(xp, function)(x, axis=-1, keepdims=True) * xp.ones_like(x))
    found = KernelUse(NativeBackend(threads=1), op, x).forward()[0]
    np.testing.assert_array_equal(found, op.forward(np, x))


STOPPED = {
    "it broadcasts": lambda xp, x: x - xp.mean(x, axis=-1),
    "xp.sum is over the axes [1] of 3": lambda xp, x: x - xp.sum(x, axis=1, keepdims=True),
    "it computes with a sum of rows": lambda xp, x: x - xp.sum(x, axis=(0, 1)),
    "rows of": lambda xp, x: xp.max(x, axis=-1, keepdims=True) - xp.max(x, axis=(1, 2), keepdims=True) + x,
}  # fmt: skip


@pytest.mark.parametrize("why", STOPPED)
def test_what_is_no_computation_of_rows_runs_by_reference(why):
    x = np.ones((4, 4, 4), np.float32)
    use = KernelUse(NativeBackend(threads=1), Of(STOPPED[why]), x)
    assert "not traced" in use.kernel.label
    assert why in use.kernel.label
