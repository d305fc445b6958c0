"""Every standard op, with each attribute that changes its formula.

Gradients are checked against central differences in float64, away from kinks; the references must give the same
on `array_api_strict` as on NumPy, must infer what they return, and must leave their inputs alone.
"""

from types import SimpleNamespace

import array_api_strict
import numpy as np
import pytest
from mocha_layers_std._plugin import OPS
from mocha_layers_std.accuracy import Accuracy
from mocha_layers_std.channel_pooling import MaxChannelPooling, MeanChannelPooling
from mocha_layers_std.class_labels import Labels
from mocha_layers_std.convolution import Convolution
from mocha_layers_std.dropout import Dropout
from mocha_layers_std.element_wise import Add, Divide, Multiply, Subtract
from mocha_layers_std.inner_product import InnerProduct
from mocha_layers_std.lrn import LRNAcrossChannel, LRNWithinChannel
from mocha_layers_std.multinomial_logistic_loss import MultinomialLogisticLoss
from mocha_layers_std.neurons.exponential import ExponentialOp
from mocha_layers_std.neurons.lrelu import LReLUOp
from mocha_layers_std.neurons.relu import ReLUOp
from mocha_layers_std.neurons.sigmoid import SigmoidOp
from mocha_layers_std.neurons.tanh import TanhOp
from mocha_layers_std.pooling import MaxPooling, MeanPooling
from mocha_layers_std.power import Power
from mocha_layers_std.softmax import Softmax
from mocha_layers_std.softmax_loss import SoftmaxLoss
from mocha_layers_std.square_loss import SquareLoss

from mocha_core.graph.array_api import DTYPES, FUNCTIONS
from mocha_core.graph.op import Op
from mocha_core.graph.value import Spec

#: What every backend offers, and nothing else.
strict = SimpleNamespace(**{name: getattr(array_api_strict, name) for name in (*DTYPES, *FUNCTIONS)})
RANDOM = np.random.default_rng(20141120)


def spread(*shape):
    """Distinct multiples of 1/16 in random order, none of them near zero: no ties, no kinks nearby."""
    n = int(np.prod(shape))
    return RANDOM.permutation(np.arange(n) - n // 2 + 0.5).reshape(shape) / 16


def normal(*shape):
    return RANDOM.normal(size=shape)


def positive(*shape):
    return RANDOM.uniform(0.2, 1.0, shape)


def labels(high, *shape):
    return RANDOM.integers(0, high, shape).astype(np.int32)


def cell(value, dtype=np.int64):
    return np.array(value, dtype)


CASES = {
    "convolution": (Convolution((1, 1), (1, 1), (0, 0), 1), normal(2, 3, 2, 3), normal(4, 3, 1, 1), normal(4)),
    "convolution kernel": (Convolution((2, 3), (1, 1), (0, 0), 1), normal(2, 2, 4, 5), normal(3, 2, 3, 2), normal(3)),
    "convolution stride": (Convolution((2, 3), (3, 2), (0, 0), 1), normal(2, 2, 8, 7), normal(2, 2, 3, 2), normal(2)),
    "convolution pad": (Convolution((3, 2), (1, 2), (2, 1), 1), normal(1, 2, 4, 3), normal(2, 2, 2, 3), normal(2)),
    "convolution group": (Convolution((2, 2), (1, 1), (1, 0), 2), normal(2, 4, 3, 3), normal(6, 2, 2, 2), normal(6)),
    "inner_product": (InnerProduct(), normal(3, 5), normal(4, 5), normal(4)),
    "inner_product images": (InnerProduct(), normal(3, 2, 2, 3), normal(4, 12), normal(4)),
    "max_pooling": (MaxPooling((2, 2), (2, 2), (0, 0), 4, 6), spread(2, 3, 4, 6)),
    "max_pooling overlap": (MaxPooling((3, 2), (1, 2), (2, 1), 5, 4), spread(2, 2, 5, 4)),
    "max_pooling overrun": (MaxPooling((3, 3), (2, 2), (0, 0), 6, 4), spread(2, 2, 6, 4)),
    "max_pooling gaps": (MaxPooling((1, 2), (3, 3), (0, 0), 7, 5), spread(2, 2, 7, 5)),
    "mean_pooling": (MeanPooling((2, 2), (2, 2), (0, 0), 4, 6), normal(2, 3, 4, 6)),
    "mean_pooling overlap": (MeanPooling((3, 2), (1, 2), (2, 1), 5, 4), normal(2, 2, 5, 4)),
    "mean_pooling overrun": (MeanPooling((3, 3), (2, 2), (0, 0), 6, 4), normal(2, 2, 6, 4)),
    "mean_pooling gaps": (MeanPooling((1, 2), (3, 3), (0, 0), 7, 5), normal(2, 2, 7, 5)),
    "max_channel_pooling": (MaxChannelPooling(3, 2, (2, 2), 5), spread(2, 5, 2, 2)),
    "max_channel_pooling vectors": (MaxChannelPooling(2, 2, (0, 1), 5), spread(3, 5)),
    "mean_channel_pooling": (MeanChannelPooling(3, 2, (2, 2), 5), normal(2, 5, 2, 2)),
    "mean_channel_pooling vectors": (MeanChannelPooling(3, 2, (0, 0), 6), normal(3, 6)),
    "lrn_across_channel": (LRNAcrossChannel(5, 1.0, 1.0, 0.75), normal(2, 7, 2, 2)),
    "lrn_across_channel even": (LRNAcrossChannel(4, 0.3, 2.0, 1.5), normal(2, 3, 2, 2)),
    "lrn_within_channel": (LRNWithinChannel(3, 1.0, 1.0, 0.75), normal(2, 2, 4, 5)),
    "lrn_within_channel even": (LRNWithinChannel(2, 0.3, 2.0, 1.5), normal(2, 2, 3, 3)),
    "add": (Add(), normal(3, 4), normal(3, 4)),
    "subtract": (Subtract(), normal(3, 4), normal(3, 4)),
    "multiply": (Multiply(), normal(3, 4), normal(3, 4)),
    "divide": (Divide(), normal(3, 4), positive(3, 4)),
    "power identity": (Power(1.0, 1.0, 0.0), normal(3, 4)),
    "power constant": (Power(0.0, 2.0, 1.0), normal(3, 4)),
    "power square": (Power(2.0, 0.5, -1.0), normal(3, 4)),
    "power cube": (Power(3.0, -1.5, 0.5), normal(3, 4)),
    "power reciprocal": (Power(-1.0, 2.0, 1.0), positive(3, 4)),
    "power fraction": (Power(0.75, 2.0, 0.5), positive(3, 4)),
    "power no scale": (Power(0.5, 0.0, 0.0), normal(3, 4)),
    "softmax": (Softmax(), normal(3, 4)),
    "softmax images": (Softmax(), normal(2, 3, 2, 2)),
    "dropout": (Dropout(0.4, True, 7, 3), normal(3, 2, 3), cell(5), cell(10)),
    "dropout unscaled": (Dropout(0.7, False, 7, 3), normal(3, 6), cell(0), cell(0)),
    "labels": (Labels(1), labels(5, 4, 1).astype(np.float64), cell(0)),
    "labels fraction": (Labels(1), np.array([[1.0], [2.5]]), cell(0)),
    "softmax_loss": (SoftmaxLoss(1), normal(4, 3), labels(3, 4, 1), cell(4), cell(0)),
    "softmax_loss images": (SoftmaxLoss(1), normal(3, 4, 2, 3), labels(4, 3, 1, 2, 3), cell(2), cell(0)),
    "multinomial_logistic_loss": (MultinomialLogisticLoss(1), positive(4, 3), labels(3, 4), cell(4), cell(0)),
    "multinomial_logistic_loss images": (
        *(MultinomialLogisticLoss(1), positive(3, 4, 2, 3), labels(4, 3, 2, 3), cell(2), cell(0)),
    ),
    "square_loss": (SquareLoss(), normal(4, 3), normal(4, 3), cell(4)),
    "square_loss part": (SquareLoss(), normal(4, 1, 2, 2), normal(4, 1, 2, 2), cell(3)),
    "accuracy": (Accuracy(1), spread(5, 3), labels(3, 5, 1, 1, 1), cell(4), cell(0), np.array([2.0, 3.0])),
    "relu": (ReLUOp(0.0), spread(3, 4)),
    "relu epsilon": (ReLUOp(0.5), spread(3, 6) + 1 / 64),
    "sigmoid": (SigmoidOp(), 3 * normal(3, 4)),
    "tanh": (TanhOp(), normal(3, 4)),
    "lrelu": (LReLUOp(), spread(3, 4)),
    "exponential": (ExponentialOp(), normal(3, 4)),
}
DIFFERENTIABLE = [case for case, (op, *_) in CASES.items() if op.differentiable != ()]


def forward(op: Op, xp, inputs):
    result = op.forward(xp, *inputs)
    return result if isinstance(result, tuple) else (result,)


def backward(op: Op, xp, dy, inputs, outputs, wanted):
    """The backward of an op that is shown only what it says it reads."""
    x = [a if op.reads("x", i) else None for i, a in enumerate(inputs)]
    y = [a if op.reads("y", i) else None for i, a in enumerate(outputs)]
    return op.backward(xp, dy, x, y, wanted)


def output_gradients(op: Op, outputs, dtype=np.float64):
    """Random gradients of the outputs that others see; None for saved ones and updated inputs."""
    visible = len(outputs) - len(op.updates) - op.saved
    random = np.random.default_rng(3)
    dy = [np.asarray(random.normal(size=np.shape(y)), dtype) for y in outputs[:visible]]
    return [*dy, *[None] * (len(outputs) - visible)]


def wanted_of(op: Op, inputs):
    indices = range(len(inputs)) if op.differentiable is None else op.differentiable
    return [i in indices for i in range(len(inputs))]


def gradients_or_zeros(gradients, inputs, wanted):
    return [
        np.zeros(np.shape(x)) if g is None else np.asarray(g)
        for g, x, want in zip(gradients, inputs, wanted, strict=True)
        if want
    ]


def test_every_registered_op_is_here():
    assert {op.name for op, *_ in CASES.values()} == set(OPS)


@pytest.mark.parametrize("case", DIFFERENTIABLE)
def test_gradient(case):
    op, *inputs = CASES[case]
    outputs = forward(op, np, inputs)
    dy, wanted = output_gradients(op, outputs), wanted_of(op, inputs)

    def objective():
        return sum(float(np.sum(y * d)) for y, d in zip(forward(op, np, inputs), dy) if d is not None)

    derived = gradients_or_zeros(backward(op, np, dy, inputs, outputs, wanted), inputs, wanted)
    for x, gradient in zip([x for x, want in zip(inputs, wanted) if want], derived, strict=True):
        step, numeric = 1e-5, np.zeros_like(x)
        for i in np.ndindex(x.shape):
            kept = x[i]
            x[i] = kept + step
            above = objective()
            x[i] = kept - step
            below = objective()
            x[i] = kept
            numeric[i] = (above - below) / (2 * step)
        assert gradient.shape == x.shape
        assert np.linalg.norm(gradient - numeric) <= 1e-6 * np.linalg.norm(numeric) + 1e-12


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", CASES)
def test_strict_namespace_agrees_with_numpy(case, dtype):
    op, *inputs = CASES[case]
    inputs = [x.astype(dtype) if x.dtype == np.float64 and i not in op.updates else x for i, x in enumerate(inputs)]
    ours = [strict.asarray(x.copy()) for x in inputs]
    expected = forward(op, np, inputs)
    outputs = forward(op, strict, ours)

    specs = op.infer(*(Spec(x.shape, str(x.dtype)) for x in inputs))
    specs += tuple(Spec(inputs[i].shape, str(inputs[i].dtype)) for i in op.updates)
    assert tuple(Spec(y.shape, str(np.asarray(y).dtype)) for y in outputs) == specs
    tolerance = {"rtol": 1e-5 if dtype == "float32" else 1e-12, "atol": 1e-5 if dtype == "float32" else 1e-13}
    for y, e in zip(outputs, expected, strict=True):
        np.testing.assert_allclose(np.asarray(y), e, **tolerance)
    for x, kept in zip(ours, inputs, strict=True):
        np.testing.assert_array_equal(np.asarray(x), kept)

    if op.differentiable == ():
        return
    dy, wanted = output_gradients(op, expected, dtype), wanted_of(op, inputs)
    strict_dy = [None if d is None else strict.asarray(d) for d in dy]
    gradients = backward(op, strict, strict_dy, ours, outputs, wanted)
    assert all(g is None or str(np.asarray(g).dtype) == dtype for g in gradients)
    expected_gradients = backward(op, np, dy, inputs, expected, wanted)
    for g, e in zip(
        gradients_or_zeros(gradients, inputs, wanted), gradients_or_zeros(expected_gradients, inputs, wanted)
    ):
        np.testing.assert_allclose(g, e, **tolerance)
    for x, kept in zip(ours, inputs, strict=True):
        np.testing.assert_array_equal(np.asarray(x), kept)


@pytest.mark.parametrize(
    "case", [case for case in DIFFERENTIABLE if sum(wanted_of(CASES[case][0], CASES[case][1:])) > 1]
)
def test_gradients_one_at_a_time(case):
    op, *inputs = CASES[case]
    outputs = forward(op, np, inputs)
    dy, wanted = output_gradients(op, outputs), wanted_of(op, inputs)
    together = backward(op, np, dy, inputs, outputs, wanted)
    for i in np.flatnonzero(wanted):
        alone = backward(op, np, dy, inputs, outputs, [j == i for j in range(len(inputs))])
        np.testing.assert_array_equal(alone[i], together[i])
