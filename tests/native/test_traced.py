"""Ops without a kernel: their references are traced, and computed in C as NumPy computes them."""

import random
import re

import numpy as np
import pytest
from kernel_use import KernelUse
from mocha_native.backend import NativeBackend
from mocha_native.compiled import Compiled
from traced_ops import AdamUpdate, Swish

import mocha_core as mocha
from mocha_core import layers
from mocha_core.api import ComputationLayer, Solver
from mocha_core.compile.kernel import Reference
from mocha_core.compile.selection import Selector
from mocha_core.graph.op import Op
from mocha_core.graph.plan import Phase, Plan
from mocha_core.graph.value import Spec, Value
from mocha_core.plugin.manager import registries
from mocha_core.train.update import UpdateOp

DTYPES = ["float32", "float64"]
SPECIAL = [0.0, -0.0, 1.0, -1.0, np.nan, np.inf, -np.inf, 0.5, 1.5, -2.5, 3e-41, 1e38, -7.25, 88.9, -104.2, 1e-3]


class Of(Op):
    """Any function of arrays as an op without backward; its outputs are alike, or masks."""

    name = "acme.of"
    differentiable = ()
    function: object
    masks: bool = False

    def infer(self, *x):
        return (Spec(x[0].shape, "bool" if self.masks else x[0].dtype),)

    def forward(self, xp, *x):
        return self.function(xp, *x)


def chosen(op, *arrays):
    """The kernel of an op on native."""
    plan = Plan(Phase.TRAIN, batch=1)
    plan.call(op, *(Value(f"x{i}", np.shape(a), str(a.dtype)) for i, a in enumerate(arrays)))
    return Selector(NativeBackend(threads=1), registries()).choose(plan.steps[0].call)


def assert_ulps(found, expected, ulps):
    """Equal with the sign of zero, except for a few units in the last place, or of the smallest numbers."""
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
    there = ~np.isnan(expected)
    found, expected = found[there], expected[there]
    np.testing.assert_array_equal(np.signbit(found), np.signbit(expected))
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(found[~finite], expected[~finite])
    unit = np.spacing(np.abs(expected[finite]))
    assert (np.abs(found[finite] - expected[finite]) <= ulps * unit).all()


def numbers(dtype, rng, spread=10.0):
    """Special values, and enough others for two blocks and a rest."""
    drawn = np.concatenate([rng.standard_normal(1500), spread * rng.standard_normal(1501)])
    return np.concatenate([SPECIAL, drawn, SPECIAL]).astype(dtype)


def traced(function, *arrays, threads=2, masks=False):
    use = KernelUse(NativeBackend(threads=threads), Of(function, masks), *arrays)
    assert use.kernel.label == "traced acme.of"
    return use.forward()[0]


ONE = {
    "negative": (lambda xp, x: -x, 0), "abs": (lambda xp, x: xp.abs(x), 0), "sign": (lambda xp, x: xp.sign(x), 0),
    "square": (lambda xp, x: xp.square(x), 0), "sqrt": (lambda xp, x: xp.sqrt(x), 0),
    "exp": (lambda xp, x: xp.exp(x), 2), "log": (lambda xp, x: xp.log(x), 2), "tanh": (lambda xp, x: xp.tanh(x), 3),
    "floor": (lambda xp, x: xp.floor(x), 0), "ceil": (lambda xp, x: xp.ceil(x), 0),
    "round": (lambda xp, x: xp.round(x), 0), "cube": (lambda xp, x: x**3, 1),
    "power": (lambda xp, x: xp.pow(x, 2.5), 1),
    "inverse": (lambda xp, x: x**-1, 0), "third": (lambda xp, x: x / 3, 1), "by 0": (lambda xp, x: x / 0.0, 0),
    "by tiny": (lambda xp, x: x / 1e-37, 1), "number": (lambda xp, x: xp.full_like(x, 1.5), 0),
    "relu": (lambda xp, x: xp.where(x > 0, x, xp.zeros_like(x)), 0),
    "where NaN": (lambda xp, x: xp.where(xp.isnan(x), 1.0, x), 0),
    "mask as number": (lambda xp, x: xp.astype(x < 1, x.dtype) + xp.astype(xp.logical_not(x >= 1), x.dtype), 0),
}  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ONE)
def test_a_function_of_one_array(isa, dtype, name, rng):
    function, ulps = ONE[name]
    x = numbers(dtype, rng)
    with np.errstate(all="ignore"):
        expected = function(np, x)
    found = [traced(function, x, threads=n) for n in (1, 2, 3)]
    assert_ulps(found[0], expected, ulps)
    assert len({array.tobytes() for array in found}) == 1


TWO = {
    "add": lambda xp, a, b: a + b, "subtract": lambda xp, a, b: a - b, "multiply": lambda xp, a, b: a * b,
    "divide": lambda xp, a, b: a / b, "maximum": lambda xp, a, b: xp.maximum(a, b),
    "minimum": lambda xp, a, b: xp.minimum(a, b), "where": lambda xp, a, b: xp.where(b < a, a, b),
}  # fmt: skip
MASKS = {
    "<": lambda xp, a, b: a < b, "<=": lambda xp, a, b: a <= b,
    ">": lambda xp, a, b: a > b, ">=": lambda xp, a, b: a >= b,
    "==": lambda xp, a, b: a == b, "!=": lambda xp, a, b: a != b,
    "and": lambda xp, a, b: xp.logical_and(a > 0, xp.isnan(b)), "or": lambda xp, a, b: (a > 0) | xp.isfinite(b),
    "xor": lambda xp, a, b: (a > 0) ^ ~(b > 0), "bool": lambda xp, a, b: xp.astype(a, xp.bool),
}  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", [*TWO, *MASKS])
def test_a_function_of_two_arrays(isa, dtype, name, rng):
    function = {**TWO, **MASKS}[name]
    pairs = np.array([(a, b) for a in SPECIAL for b in SPECIAL] * 5, dtype)
    a, b = pairs.T.copy()
    with np.errstate(all="ignore"):
        expected = function(np, a, b)
    found = traced(function, a, b, masks=name in MASKS)
    if name in ("maximum", "minimum") or name in MASKS:  # of zeros, NumPy takes either
        np.testing.assert_array_equal(found, expected)
    else:
        assert_ulps(found, expected, 0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [1, 3, 17, 1000, 4099])
def test_swish(isa, dtype, size, rng):
    x, dy = rng.standard_normal((2, size)).astype(dtype)
    op, close = Swish(1.5), {"float32": 2e-6, "float64": 1e-14}[dtype]
    for threads in (1, 3):
        use = KernelUse(NativeBackend(threads=threads), op, x)
        np.testing.assert_allclose(use.forward()[0], op.forward(np, x), close, close)
        (dx,) = op.backward(np, [dy], [x], [None], [True])
        np.testing.assert_allclose(use.backward(dy)[0], dx, close, close)
        np.testing.assert_allclose(use.backward(dy, add=True)[0], dx + 1, close, close)
    assert use.kernel.label == "traced acme.swish"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [1, 17, 4099])
def test_adam(isa, dtype, size, rng):
    w, g, mean, square = [*rng.standard_normal((3, size)).astype(dtype), rng.random(size).astype(dtype)]
    cells = [np.asarray(0.01, dtype), np.asarray(3, np.int64), np.asarray(0, np.int32)]
    op = AdamUpdate(multiplier=2.0, fault=3)
    wide = [a.astype(np.float64) if a.dtype.kind == "f" else a for a in (w, g, mean, square, *cells)]
    found = [KernelUse(NativeBackend(threads=n), op, w, g, mean, square, *cells).forward() for n in (1, 2, 3)]
    for a, b in zip(found[0], op.forward(np, *wide)):
        np.testing.assert_allclose(a, b, *((2e-5, 1e-6) if dtype == "float32" else (1e-11, 1e-13)))
    assert all(a.tobytes() == b.tobytes() for other in found[1:] for a, b in zip(found[0], other))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("at", [0, 1500, 4098])
def test_adam_writes_nothing_that_is_not_finite(isa, bad, at):
    arrays = np.ones((4, 4099))
    arrays[1, at] = bad
    cells = [np.asarray(0.1), np.asarray(3), np.asarray(0, np.int32)]
    for threads in (1, 3):
        *new, status = KernelUse(NativeBackend(threads=threads), AdamUpdate(fault=3), *arrays, *cells).forward()
        assert status == 3
        assert np.isfinite(new).all()
    *new, status = KernelUse(NativeBackend(threads=1), AdamUpdate(), *arrays, *cells).forward()
    assert status == 0
    assert not np.isfinite(new).all()


def test_adam_writes_nothing_after_a_fault():
    arrays = np.ones((4, 4099))
    cells = [np.asarray(0.1), np.asarray(3), np.asarray(7, np.int32)]
    *new, status = KernelUse(NativeBackend(threads=2), AdamUpdate(fault=3), *arrays, *cells).forward()
    assert status == 7
    assert (np.array(new) == 1).all()


class Exchange(UpdateOp):
    """Each slot becomes another operand."""

    name = "acme.exchange"
    slots = ("a", "b", "c")
    cells = ()

    def rule(self, xp, w, g, a, b, c):
        return w - c, b, a, w


def test_new_slots_may_be_other_operands(rng):
    arrays = rng.standard_normal((5, 2500))
    status = np.asarray(0, np.int32)
    for fault in (0, 3):
        op = Exchange(fault=fault)
        found = KernelUse(NativeBackend(threads=2), op, *arrays, status).forward()
        for a, b in zip(found, op.forward(np, *arrays, status)):
            np.testing.assert_allclose(a, b, 1e-12)


class Clamp(Op):
    """y = x, but at most 1; it saves where x was inside."""

    name = "acme.clamp"
    backward_reads = ("y1",)
    saved = 1

    def infer(self, x):
        return x, Spec(x.shape, "bool")

    def forward(self, xp, x):
        y = xp.minimum(x, xp.ones_like(x))
        y *= 1.0  # in place
        return y, x < 1

    def backward(self, xp, dy, x, y, wanted):
        return (xp.where(y[1], dy[0], xp.zeros_like(dy[0])),)


def test_saved_masks(isa, rng):
    x, dy = rng.standard_normal((2, 9, 300)).astype("float32")
    use = KernelUse(NativeBackend(threads=3), Clamp(), x)
    y, inside = use.forward()
    np.testing.assert_array_equal(y, np.minimum(x, 1))
    np.testing.assert_array_equal(inside, x < 1)
    np.testing.assert_array_equal(use.backward(dy)[0], np.where(x < 1, dy, 0))
    np.testing.assert_array_equal(use.backward(dy, add=True)[0], np.where(x < 1, dy, 0) + np.float32(1))


def branch(xp, x):
    return x if x > 0 else -x


STOPPED = {
    "Python reads elements of an array": branch,
    "xp.sum is not over the last axes": lambda xp, x: x - xp.sum(x),
    "xp.concat cannot be traced": lambda xp, x: xp.concat([x, x])[:3],
    "xp.sin is not in mocha_core.graph.array_api": lambda xp, x: xp.sin(x),
    "it reshapes an array from (3, 4) to (12,)": lambda xp, x: xp.reshape(xp.reshape(x, (12,)), (3, 4)),
    "it makes an array of float64 of one of float32": lambda xp, x: x * np.float64(2),
    "it takes a part of an array": lambda xp, x: x[:1] + x,
    "it writes an operand": lambda xp, x: x.__iadd__(1),
    "it computes something else each time": lambda xp, x: x * random.random(),
    "TypeError": lambda xp, x: np.exp(x),
}


@pytest.mark.parametrize("why", STOPPED)
def test_what_cannot_be_traced_runs_by_reference_and_says_why(why):
    kernel = chosen(Of(STOPPED[why]), np.ones((3, 4), np.float32))
    assert isinstance(kernel, Reference)
    assert re.match(rf"reference of acme\.of, not traced: .*{re.escape(why)}", kernel.label)


class HalfTraced(Swish):
    name = "acme.half"

    def backward(self, xp, dy, x, y, wanted):
        return (dy[0] + xp.matmul(x[0], x[0]),)


def test_one_half_may_be_traced_alone():
    x = np.arange(6, dtype=np.float32)
    kernel = chosen(HalfTraced(1.0), x)
    assert kernel.label == "traced acme.half, backward by reference: xp.matmul cannot be traced"
    y, dx = np.zeros_like(x), np.zeros_like(x)
    kernel.forward([x], [y], [False])()
    np.testing.assert_allclose(y, Swish(1.0).forward(np, x), 1e-6)
    kernel.backward([x, x, None], [dx], [False])()
    np.testing.assert_allclose(dx, x + 55)


class SwishLayer(ComputationLayer):
    def build(self, b, x):
        return b.call(Swish(1.5), x)


class Adam(Solver):
    update_op = AdamUpdate


def test_a_net_of_traced_ops_trains_as_on_cpu(rng):
    """Swish is between kernels that keep images in lanes, and follows their layout."""
    images, labels = rng.standard_normal((20, 3, 10, 10)), rng.integers(0, 4, 20)

    def trained(name, **options):
        data = layers.MemoryDataLayer(name="data", data=[images, labels], batch_size=20)
        convolution = layers.ConvolutionLayer(name="c", kernel=(3, 3), n_filter=5, bottoms=["data"], tops=["c"])
        swish = SwishLayer(name="s", bottoms=["c"], tops=["s"])
        pool = layers.PoolingLayer(name="p", kernel=(2, 2), stride=(2, 2), bottoms=["s"], tops=["p"])
        scores = layers.InnerProductLayer(name="y", output_dim=4, bottoms=["p"], tops=["y"])
        loss = layers.SoftmaxLossLayer(name="loss", bottoms=["y", "label"])
        with mocha.System(name, dtype="float64", seed=1, **options) as system:
            net = mocha.Net("traced", system, [data, convolution, swish, pool, scores, loss])
            solver = Adam(mocha.SolverParameters(max_iter=5, lr_policy=0.01))
            solver.solve(net)
            program = net.runs.training_program(solver)
            kernels = {use.kernel for use in program.kernels() if use.op.startswith("acme.")}
            in_python = {b.step.call.op.name for b in program.bound if not isinstance(b.run, Compiled)}
            homes = {
                program.arrangement.home(v).name for b in program.bound for v in b.step.writes if "swish" in v.name
            }
            return {k: v.numpy() for k, v in net.states.items()}, kernels, in_python, homes

    expected = trained("cpu")[0]
    for threads in (1, 3):
        found, kernels, in_python, homes = trained("native", threads=threads)
        assert kernels == {"traced acme.swish", "traced acme.adam"}
        assert in_python <= {"mocha.fetch"}
        assert [home for home in homes if "lanes" in home] == list(homes) != []
        for key, array in expected.items():
            np.testing.assert_allclose(found[key], array, 1e-8, 1e-10)
