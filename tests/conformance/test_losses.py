import numpy as np
import pytest
from mocha_layers_std.multinomial_logistic_loss import MultinomialLogisticLoss
from mocha_layers_std.softmax_loss import SoftmaxLoss
from mocha_layers_std.square_loss import SquareLoss

from mocha_core import layers
from mocha_core.testing import LayerCase, LayerTests, OpCase, OpTests
from mocha_core.testing.backends import installed, open_any
from mocha_core.testing.inputs import distinct, labels, probabilities
from mocha_core.testing.kernel_checks import check_kernel, kernels
from mocha_core.testing.tolerances import TOLERANCES

FAULT = 3


def softmax(x):
    return np.exp(x) / np.exp(x).sum(axis=1, keepdims=True)


def logistic_loss(probability, labels, rows=None):
    """The mean of -log p at the labels of the first rows, label by label."""
    n, classes = probability.shape[:2]
    flat = probability.reshape(n, classes, -1)[:rows]
    chosen = np.asarray(labels).reshape(n, -1)[:rows].astype(int)
    return -np.mean([np.log(flat[s, chosen[s, p], p]) for s, p in np.ndindex(chosen.shape)])


#: Shapes of the prediction and of the labels.
SHAPES = {
    "flat": ((4, 3), (4,)),
    "labels with an axis": ((4, 3), (4, 1)),
    "labels with three axes": ((4, 3), (4, 1, 1, 1)),
    "positions": ((2, 3, 2, 2), (2, 2, 2)),
    "positions and an axis": ((2, 3, 2, 3), (2, 1, 2, 3)),
    "one position": ((3, 4, 1, 1), (3,)),
    "two classes": ((5, 2), (5,)),
    "one sample": ((1, 4), (1,)),
}


def cells(valid_rows, status=0):
    return [np.asarray(valid_rows, np.int32), np.asarray(status, np.int32)]


def op_cases(op, draw):
    return {
        f"{name}, {valid} of {shape[0]} rows": OpCase(
            op(FAULT, shape[1]), [draw(shape), labels(where, shape[1]), *cells(valid)]
        )
        for name, (shape, where) in SHAPES.items()
        for valid in {shape[0], (shape[0] + 1) // 2}
    }


def scores(shape):
    return distinct(shape, low=-2.0, high=2.0)


class TestSoftmaxLoss(OpTests):
    cases = op_cases(SoftmaxLoss, scores)

    def expected(self, op, inputs):
        p = softmax(inputs[0])
        return [logistic_loss(p, inputs[1], int(inputs[2])), p, np.asarray(0, np.int32)]


class TestMultinomialLogisticLoss(OpTests):
    cases = op_cases(MultinomialLogisticLoss, probabilities)

    def expected(self, op, inputs):
        return [logistic_loss(inputs[0], inputs[1], int(inputs[2])), np.asarray(0, np.int32)]


class TestSquareLoss(OpTests):
    cases = {
        f"{name}, {valid} rows": OpCase(SquareLoss(), [distinct(shape), distinct(shape, 1), cells(valid)[0]])
        for name, shape in {"flat": (4, 3), "images": (4, 2, 2, 1), "one number each": (4,)}.items()
        for valid in (4, 3)
    }

    def expected(self, op, inputs):
        rows = int(inputs[2])
        return [sum((p - t) ** 2 for p, t in zip(inputs[0][:rows].ravel(), inputs[1][:rows].ravel())) / (2 * rows)]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("backend", [name for name in installed() if name != "strict"])
@pytest.mark.parametrize(
    ("given", "valid_rows", "before", "after"),
    [
        ([0, 3, 1, 2], 4, 0, FAULT), ([0, 2, -1, 2], 4, 0, FAULT), ([0, 2, 2**31 - 1, 2], 4, 0, FAULT),
        ([0, 2, -(2**31), 2], 4, 0, FAULT), ([0, 2, 1, 3], 3, 0, 0), ([0, 2, 1, 3], 4, 2, 2), ([0, 1, 2, 0], 4, 2, 2),
    ],
)  # fmt: skip
@pytest.mark.parametrize(("op", "draw"), [(SoftmaxLoss, scores), (MultinomialLogisticLoss, probabilities)])
def test_labels_out_of_range_are_reported(op, draw, given, valid_rows, before, after, backend, dtype):
    case = OpCase(op(FAULT, 3), [draw((4, 3)), np.array(given, np.int32), *cells(valid_rows, before)])
    assert case.forward(case.arrays(dtype))[-1] == after
    opened = open_any(backend)
    for _, kernel in kernels(case, opened, dtype):
        check_kernel(case, opened, kernel, dtype, TOLERANCES[dtype])
    opened.close()


def layer_cases(kind, draw):
    shapes = {
        name: (kind(bottoms=["x", "label"]), [draw(shape), labels(where, shape[1])])
        for name, (shape, where) in SHAPES.items()
    }
    return shapes | {
        f"weight {weight}": (kind(weight=weight, bottoms=["x", "label"]), [draw((4, 3)), labels((4,), 3)])
        for weight in (0.25, 3.0, -1.0)
    }


def mistakes(kind):
    layer = kind(name="loss", bottoms=["x", "label"])
    return {
        "label out of range": (layer, [probabilities((3, 2)), np.array([0, 2, 1])], "expected labels 0 to 1"),
        "label that is no whole number": (layer, [probabilities((2, 2)), np.array([0.5, 1.0])], "whole numbers"),
        "labels that do not fit": (layer, [(4, 3), labels((4, 2), 3)], r"int32\[4, 2\]|float64\[4, 2\]"),
        "predictions without classes": (layer, [(4,), labels((4,), 3)], r"float64\[4\]"),
        "one bottom": (lambda: kind(bottoms=["x"]), [], "2 bottoms"),
        "weight": (lambda: kind(weight="heavy", bottoms=["x", "label"]), [], "weight"),
    }


class TestSoftmaxLossLayer(LayerTests):
    cases = layer_cases(layers.SoftmaxLossLayer, scores)
    wrong = mistakes(layers.SoftmaxLossLayer)

    def expected(self, layer, bottoms, parameters):
        return {"(objective)": layer.weight * logistic_loss(softmax(bottoms[0]), bottoms[1])}


class TestMultinomialLogisticLossLayer(LayerTests):
    cases = layer_cases(layers.MultinomialLogisticLossLayer, probabilities)
    wrong = mistakes(layers.MultinomialLogisticLossLayer)

    def expected(self, layer, bottoms, parameters):
        return {"(objective)": layer.weight * logistic_loss(*bottoms)}


class TestSquareLossLayer(LayerTests):
    cases = {
        "flat": (layers.SquareLossLayer(bottoms=["x", "t"]), [(4, 3), (4, 3)]),
        "images": (layers.SquareLossLayer(bottoms=["x", "t"]), [(3, 2, 2, 2), (3, 2, 2, 2)]),
        "labels without an axis": (layers.SquareLossLayer(bottoms=["x", "t"]), [(4, 1), (4,)]),
        "labels with more axes": (layers.SquareLossLayer(bottoms=["x", "t"]), [(4, 3), (4, 3, 1, 1)]),
        "weight": (layers.SquareLossLayer(weight=0.25, bottoms=["x", "t"]), [(4, 3), (4, 3)]),
        "whole labels": (layers.SquareLossLayer(bottoms=["x", "t"]), [(4, 1), labels((4, 1), 5)]),
    }
    wrong = {
        "other shapes": (layers.SquareLossLayer(bottoms=["x", "t"]), [(4, 3), (4, 2)], r"\[4, 3\] and float64\[4, 2\]")
    }

    def expected(self, layer, bottoms, parameters):
        x, t = bottoms
        difference = (x - t.reshape(x.shape)) / len(x)
        loss = layer.weight * np.sum(difference**2) * len(x) / 2
        return {"(objective)": loss, "d x": layer.weight * difference}


@pytest.mark.parametrize("backend", installed())
def test_softmax_loss_is_the_loss_of_a_softmax_layer(backend):
    x, t = scores((4, 3)), labels((4,), 3)
    loss = LayerCase(layers.SoftmaxLossLayer(bottoms=["x", "label"]), [x, t], backend).outcome()
    chained = LayerCase(layers.MultinomialLogisticLossLayer(bottoms=["x", "label"]), [softmax(x), t], backend).outcome()
    assert loss["(objective)"] == pytest.approx(chained["(objective)"], rel=1e-12)
