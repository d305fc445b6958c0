"""Kernels on random shapes, odd sizes and odd addresses, against NumPy in float64 and for 1, 2 and 3 threads."""

import numpy as np
import pytest
from kernel_use import KernelUse
from mocha_layers_std.accuracy import Accuracy
from mocha_layers_std.class_labels import Labels
from mocha_layers_std.dropout import Dropout
from mocha_layers_std.element_wise import OPS
from mocha_layers_std.inner_product import InnerProduct
from mocha_layers_std.loss_step import SoftmaxLossStep
from mocha_layers_std.multinomial_logistic_loss import MultinomialLogisticLoss
from mocha_layers_std.neurons.exponential import ExponentialOp
from mocha_layers_std.neurons.lrelu import LReLUOp
from mocha_layers_std.neurons.relu import ReLUOp
from mocha_layers_std.neurons.sigmoid import SigmoidOp
from mocha_layers_std.neurons.tanh import TanhOp
from mocha_layers_std.power import Power
from mocha_layers_std.regularizers import L1Regu, L2Regu, NoRegu
from mocha_layers_std.softmax import Softmax
from mocha_layers_std.softmax_loss import SoftmaxLoss
from mocha_layers_std.square_loss import SquareLoss
from mocha_native.backend import NativeBackend
from mocha_solvers_std.sgd import SGDUpdate

from mocha_core.graph.commit import Commit, Copy
from mocha_core.graph.plan import Phase, Plan
from mocha_core.graph.structural import CheckFinite, Fill, Gather, Objective
from mocha_core.graph.value import Value
from mocha_core.testing.tolerances import TOLERANCES, assert_close

DTYPES = ["float32", "float64"]


def same_for_all_threads(work):
    """The results of `work(backend)`, which have to be the same bytes for 1, 2 and 3 threads."""
    alone, *others = ([np.array(a) for a in work(NativeBackend(threads=n)) if a is not None] for n in (1, 2, 3))
    for other in others:
        for a, b in zip(alone, other, strict=True):
            assert a.tobytes() == b.tobytes()
    return alone


def reference(op, inputs, half, *tops):
    """What the op's own functions compute in float64."""
    wide = [a.astype(np.float64) if a.dtype.kind == "f" else a for a in inputs]
    results = op.forward(np, *wide)
    results = results if isinstance(results, tuple) else (results,)
    if half == "forward":
        return results
    dy = [*tops, *[None] * (len(results) - len(tops))]
    return [g for g in op.backward(np, dy, wide, results, [True] * len(wide)) if g is not None]


def check(op, inputs, tops, dtype, tolerance=1.0):
    """Both halves, with gradients written and added, against the reference."""
    inputs = [a.astype(dtype) if a.dtype == np.float64 else a for a in inputs]
    tops = [np.asarray(t, dtype) for t in tops]
    close = TOLERANCES[dtype] * tolerance

    def work(backend):
        use = KernelUse(backend, op, *inputs)
        return [*use.forward(), *use.backward(*tops), *use.backward(*tops, add=True)]

    found = same_for_all_threads(work)
    y, dx = reference(op, inputs, "forward"), reference(op, inputs, "backward", *tops)
    for i, wanted in enumerate([*y, *dx, *(1 + np.asarray(g) for g in dx)]):
        assert_close(f"result {i}", found[i], wanted, close)


SHAPES = [
    (1, 1, 1), (1, 7, 33), (2, 5, 16), (3, 9, 130), (4, 4, 64), (5, 6, 7), (7, 13, 17), (16, 6, 64), (17, 12, 65),
    (31, 10, 100), (33, 1, 63), (64, 10, 50), (65, 37, 128), (70, 67, 129), (6, 3, 1025), (9, 2, 2100), (3, 1, 2100),
]  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_inner_product(isa, dtype, shape, rng):
    rows, outputs, features = shape
    x, w, b = (
        rng.standard_normal((rows, features)),
        rng.standard_normal((outputs, features)),
        rng.standard_normal(outputs),
    )
    check(InnerProduct(), [x, w, b], [rng.standard_normal((rows, outputs))], dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("trial", range(10))
def test_inner_product_of_random_shape(isa, dtype, trial, rng):
    rows, outputs, features = rng.integers(1, 150, 3)
    x, w, b = (
        rng.standard_normal((rows, features)),
        rng.standard_normal((outputs, features)),
        rng.standard_normal(outputs),
    )
    check(InnerProduct(), [x, w, b], [rng.standard_normal((rows, outputs))], dtype)


def test_inner_product_of_many_rows_and_outputs(isa, rng):
    """Backward sums over more terms than a panel has rows, too."""
    x, w, b = rng.standard_normal((1030, 5)), rng.standard_normal((1100, 5)), rng.standard_normal(1100)
    check(InnerProduct(), [x, w, b], [rng.standard_normal((1030, 1100))], "float32", 3)


@pytest.mark.parametrize("wanted", [(True, False, False), (False, True, False), (False, False, True)])
def test_single_gradients_of_inner_product(wanted, rng):
    inputs = [rng.standard_normal(s) for s in ((9, 20), (6, 20), (6,))]
    dy = rng.standard_normal((9, 6))
    use = KernelUse(NativeBackend(threads=2), InnerProduct(), *inputs)
    use.forward()
    found = use.backward(dy, wanted=wanted)
    assert [g is not None for g in found] == list(wanted)
    expected = InnerProduct().backward(np, [dy], inputs, [], [True] * 3)
    for g, e in zip(found, expected):
        if g is not None:
            assert_close("gradient", g, e, 1e-12)


NEURONS = [ReLUOp(0.0), ReLUOp(-0.5), LReLUOp(), SigmoidOp(), TanhOp(), ExponentialOp()]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("op", NEURONS, ids=str)
@pytest.mark.parametrize("shape", [(1,), (3, 5), (4, 3, 7, 5), (129, 3)], ids=str)
def test_neurons(isa, dtype, op, shape, rng):
    check(op, [rng.standard_normal(shape) * 3], [rng.standard_normal(shape)], dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("op", NEURONS, ids=str)
def test_neurons_far_from_zero_and_near(isa, dtype, op):
    """Element by element, to a few units in the last place; what is not finite as NumPy has it."""
    limits = np.finfo(dtype)
    x = np.concatenate([np.linspace(-120, 120, 2001), np.geomspace(1e-30, 1, 300), -np.geomspace(1e-30, 1, 300)])
    x = np.concatenate([x, [np.inf, -np.inf, np.nan, 0.0, limits.max, limits.min, 800, -800]]).astype(dtype)
    (y,) = KernelUse(NativeBackend(threads=1), op, x).forward()
    with np.errstate(all="ignore"):
        expected = op.forward(np, x.astype(np.float64)).astype(dtype)
    close = np.isclose(y, expected, rtol=8 * limits.eps, atol=2 * limits.tiny, equal_nan=True)
    assert close.all(), (x[~close], y[~close], expected[~close])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", OPS.values(), ids=lambda kind: kind.name)
@pytest.mark.parametrize("shape", [(1,), (5, 13), (67, 3)], ids=str)
def test_element_wise(isa, dtype, kind, shape, rng):
    a, b = rng.standard_normal(shape), rng.uniform(1, 2, shape)
    check(kind(), [a, b], [rng.standard_normal(shape)], dtype)


def test_a_blob_as_both_operands():
    x = np.arange(1.0, 6.0)
    backend = NativeBackend(threads=1)
    use = KernelUse(backend, OPS["multiply"](), x, x)
    gradient, dy = np.zeros(5), np.ones(5)
    use.kernel.backward([dy, x, x, None], [gradient, gradient], [False, True])()
    np.testing.assert_array_equal(gradient, 2 * x)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("power", [0.0, 1.0, 2.0, -1.0, 0.5, 3.0])
def test_power(isa, dtype, power, rng):
    shape = (67, 3)
    op = Power(power, 0.5, 1.0)
    x, dy = rng.uniform(0.5, 2, shape), rng.standard_normal(shape)
    if power:
        check(op, [x], [dy], dtype)
        return
    use = KernelUse(NativeBackend(threads=2), op, np.append(x, -2.0).astype(dtype))
    np.testing.assert_array_equal(use.forward()[0], 1)
    np.testing.assert_array_equal(use.backward(np.ones(x.size + 1, dtype))[0], 0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1), (5, 10), (3, 17, 4), (7, 33, 1, 3)], ids=str)
def test_softmax(isa, dtype, shape, rng):
    check(Softmax(), [rng.standard_normal(shape) * 3], [rng.standard_normal(shape)], dtype)


def test_softmax_of_what_is_not_finite():
    x = np.array([[0.0, np.nan, 1.0], [1e30, 0.0, -1e30], [np.inf, 0.0, 0.0]])
    with np.errstate(all="ignore"):
        expected = Softmax().forward(np, x)
    np.testing.assert_array_equal(KernelUse(NativeBackend(threads=1), Softmax(), x).forward()[0], expected)


def cells(valid, *more):
    return [np.asarray(valid, np.int32), np.asarray(0, np.int32), *more]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 2), (5, 10), (7, 3, 4), (70, 10)], ids=str)
@pytest.mark.parametrize("part", [False, True])
def test_losses_of_classes(isa, dtype, shape, part, rng):
    labels = rng.integers(0, shape[1], (shape[0], *shape[2:])).astype(np.int32)
    valid = (shape[0] + 1) // 2 if part else shape[0]
    check(SoftmaxLoss(5, shape[1]), [rng.standard_normal(shape), labels, *cells(valid)], [np.asarray(1.5)], dtype)
    probability = rng.random(shape)
    probability[0, labels[0]] = 0  # counts as very small
    loss = MultinomialLogisticLoss(5, shape[1])
    check(loss, [probability, labels, *cells(valid)], [np.asarray(1.5)], dtype)


def loss_step(inputs, weight):
    """The op that is in place of a softmax loss of these inputs, the objective, and their gradients."""
    plan = Plan(Phase.TRAIN, batch=1)
    values = (Value(f"x{i}", a.shape, str(a.dtype)) for i, a in enumerate(inputs))
    (loss,) = plan.call(SoftmaxLoss(5, inputs[0].shape[1]), *values)
    plan.call(Objective((weight,)), loss)
    return SoftmaxLossStep(*(step.call for step in plan.steps))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 2), (5, 10), (7, 3, 4), (70, 10), (3, 1030)], ids=str)
@pytest.mark.parametrize("part", [False, True])
def test_softmax_loss_as_one_step(isa, dtype, shape, part, rng):
    labels = rng.integers(0, shape[1], (shape[0], *shape[2:])).astype(np.int32)
    valid = (shape[0] + 1) // 2 if part else shape[0]
    inputs = [rng.standard_normal(shape).astype(dtype), labels, *cells(valid)]
    op, seed = loss_step(inputs, 0.75), np.asarray(2.0, dtype)
    found = same_for_all_threads(lambda backend: KernelUse(backend, op, *inputs, seed).forward())
    (loss, *_), (dx,) = (reference(SoftmaxLoss(5, shape[1]), inputs, half, 1.5) for half in ("forward", "backward"))
    for name, a, b in zip(("objective", "gradient"), found, (0.75 * loss, dx), strict=False):
        assert_close(name, a, b, TOLERANCES[dtype])
    assert found[2] == 0
    assert (found[1][valid:] == 0).all()


@pytest.mark.parametrize("label", [-1, 3, 2**31 - 1, -(2**31)])
def test_labels_out_of_range_are_reported_and_read_nothing(label):
    x, labels = np.zeros((4, 3)), np.array([0, 1, label, 2], np.int32)
    for valid, fault in ((4, 5), (2, 0)):
        for loss in (SoftmaxLoss(5, 3), MultinomialLogisticLoss(5, 3)):
            use = KernelUse(NativeBackend(threads=2), loss, x, labels, *cells(valid))
            *_, status = use.forward()
            assert status == fault
            use.backward(np.asarray(1.0))
        inputs = [x, labels, *cells(valid)]
        *_, status = KernelUse(NativeBackend(threads=2), loss_step(inputs, 1.0), *inputs, np.asarray(1.0)).forward()
        assert status == fault
        use = KernelUse(NativeBackend(threads=2), Accuracy(5, 3), x, labels, *cells(valid, np.zeros(2)))
        status, total = use.forward()
        assert (status, total[1]) == (fault, valid)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("valid", [1, 5])
def test_square_loss(isa, dtype, valid, rng):
    a, b = rng.standard_normal((5, 3, 7)), rng.standard_normal((5, 3, 7))
    check(SquareLoss(), [a, b, np.asarray(valid, np.int32)], [np.asarray(0.5)], dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_accuracy(isa, dtype, rng):
    x = rng.integers(0, 3, (9, 4, 5)).astype(dtype)
    x[2, 1, 3] = np.nan
    labels = rng.integers(0, 4, (9, 5)).astype(np.int32)
    op, inputs = Accuracy(5, 4), [x, labels, *cells(8, np.array([2.0, 3.0]))]
    found = same_for_all_threads(lambda backend: KernelUse(backend, op, *inputs).forward())
    np.testing.assert_array_equal(found[-1], op.forward(np, *inputs)[-1])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1), (5, 3), (3, 64), (7, 4, 33)], ids=str)
@pytest.mark.parametrize("ratio", [0.5, 0.1, 0.999, 1e-9])
def test_dropout(isa, dtype, shape, ratio, rng):
    op = Dropout(ratio, True, 2**64 - 3, 2**32 - 5)
    x, dy = rng.standard_normal(shape).astype(dtype), rng.standard_normal(shape).astype(dtype)
    numbers = [np.asarray(12345, np.int64), np.asarray(2**32 - 3, np.int64)]

    def work(backend):
        use = KernelUse(backend, op, x, *numbers)
        return [*use.forward(), *use.backward(dy), *use.backward(dy, add=True)]

    y, dx, added = same_for_all_threads(work)
    if shape[0] < 4:  # row numbers below 2**32
        expected = op.forward(np, x, *numbers)
        np.testing.assert_array_equal(y != 0, expected != 0)
        assert_close("y", y, expected, TOLERANCES[dtype])
    np.testing.assert_array_equal(dx != 0, y != 0)
    assert_close("dx", dx, np.where(y != 0, dy / (1 - ratio), 0), TOLERANCES[dtype])
    assert_close("added", added, 1 + dx, TOLERANCES[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(16, 1), (8, 64), (37, 5), (19, 4, 33)], ids=str)
def test_dropout_of_many_rows_drops_what_the_reference_does(isa, dtype, shape, rng):
    op, x = Dropout(0.3, True, 2**64 - 3, 5), rng.standard_normal(shape).astype(dtype)
    numbers = [np.asarray(12345, np.int64), np.asarray(1000, np.int64)]
    (y,) = same_for_all_threads(lambda backend: KernelUse(backend, op, x, *numbers).forward()[:1])
    assert_close("y", y, op.forward(np, x, *numbers), TOLERANCES[dtype])


def test_dropout_makes_zeros_of_what_is_not_finite():
    op = Dropout(0.5, True, 1, 2)
    use = KernelUse(NativeBackend(threads=1), op, np.full((8, 8), np.nan), *[np.asarray(0, np.int64)] * 2)
    (y,) = use.forward()
    assert (np.isnan(y) | (y == 0)).all()
    assert (y == 0).any()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [1, 5, 1023, 1025, 5000])
@pytest.mark.parametrize("regularizer", [None, NoRegu(), L1Regu(2.0), L2Regu(0.5)], ids=str)
def test_sgd(isa, dtype, size, regularizer, rng):
    op = SGDUpdate(multiplier=2.0, regu_coef=0.1, regularizer=regularizer, fault=3)
    arrays = [rng.standard_normal(size).astype(dtype) for _ in range(3)]
    arrays[0][0] = 0
    numbers = [np.asarray(0.05, dtype), np.asarray(0.9, dtype), np.asarray(0, np.int32)]
    found = same_for_all_threads(lambda backend: KernelUse(backend, op, *arrays, *numbers).forward())
    expected = op.forward(np, *(a.astype(np.float64) for a in (*arrays, *numbers[:2])), numbers[2])
    for a, b in zip(found, expected, strict=True):
        assert_close("update", a, b, TOLERANCES[dtype])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_sgd_writes_nothing_that_is_not_finite(bad):
    w, g, velocity = np.ones(5000), np.zeros(5000), np.zeros(5000)
    g[1500] = bad
    numbers = [np.asarray(0.1), np.asarray(0.9), np.asarray(0, np.int32)]
    op = SGDUpdate(fault=3)
    *written, status = same_for_all_threads(lambda backend: KernelUse(backend, op, w, g, velocity, *numbers).forward())
    assert status == 3
    assert np.isfinite(written).all()
    unchecked = KernelUse(NativeBackend(threads=1), SGDUpdate(fault=0), w, g, velocity, *numbers).forward()
    assert unchecked[-1] == 0
    assert not np.isfinite(unchecked[0]).all()


def test_an_invalid_minibatch_updates_nothing():
    numbers = [np.asarray(0.1), np.asarray(0.9), np.asarray(7, np.int32)]
    w, h, status = KernelUse(NativeBackend(threads=3), SGDUpdate(fault=3), *np.ones((3, 3000)), *numbers).forward()
    assert (w == 1).all()
    assert (h == 1).all()
    assert status == 7


@pytest.mark.parametrize("dtype", DTYPES)
def test_structural_ops(isa, dtype, rng):
    losses = [np.asarray(v, dtype) for v in rng.standard_normal(3)]
    check(Objective((1.0, 0.5, -2.0)), [loss.astype(np.float64) for loss in losses], [np.asarray(2.0)], dtype)
    use = KernelUse(NativeBackend(threads=2), Fill(1.5), np.zeros(1001, dtype))
    assert (use.forward()[0] == 1.5).all()
    table, rows = rng.standard_normal((9, 3, 5)).astype(dtype), np.array([8, 0, 3, 3, 7])
    (found,) = same_for_all_threads(lambda backend: KernelUse(backend, Gather(), table, rows).forward())
    np.testing.assert_array_equal(found, table[rows])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bad", [0.5, np.nan, np.inf, -np.inf, 2.0**31, -(2.0**31), 1e30])
def test_labels(isa, dtype, bad):
    status = np.asarray(0, np.int32)
    good = np.array([0, 3, -2, 2**24], dtype)
    labels, after = KernelUse(NativeBackend(threads=1), Labels(4), good, status).forward()
    np.testing.assert_array_equal(labels, good)
    assert after == 0
    labels, after = KernelUse(NativeBackend(threads=1), Labels(4), np.array([1, bad], dtype), status).forward()
    np.testing.assert_array_equal(labels, [1, 0])
    assert after == 4


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_check_finite(isa, dtype, bad):
    for x, fault in ((1.0, 0), (bad, 4)):
        use = KernelUse(NativeBackend(threads=1), CheckFinite(4), np.asarray(x, dtype), np.asarray(0, np.int32))
        assert use.forward()[0] == fault


@pytest.mark.parametrize("status", [None, 0, 5])
def test_commit(status):
    """Values of any dtypes, small ones and such that threads share, bit for bit; where there is a fault, nothing."""
    rng = np.random.default_rng(3)
    shapes = {"float32": (), "int64": (3,), "float64": (9000, 3), "int32": (5,), "uint64": (8193,)}
    bits = {dtype: rng.integers(0, 2**60, (*shape, 8), dtype=np.int64) for dtype, shape in shapes.items()}
    sources = [array.view(dtype)[..., 0].copy() for dtype, array in bits.items()]
    op = Copy(len(sources)) if status is None else Commit(len(sources))
    given = [] if status is None else [np.asarray(status, np.int32)]

    def work(backend):
        return KernelUse(backend, op, *given, *sources, *(np.zeros_like(source) for source in sources)).forward()

    for array, source in zip(same_for_all_threads(work), sources, strict=True):
        assert array.tobytes() == (np.zeros_like(source) if status else source).tobytes()
