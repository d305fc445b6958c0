import numpy as np
import pytest
from mocha_layers_std.accuracy import Accuracy

from mocha_core import layers
from mocha_core.graph.plan import Phase
from mocha_core.testing import LayerCase, LayerTests, OpCase, OpTests
from mocha_core.testing.backends import installed
from mocha_core.testing.inputs import distinct, labels

SHAPES = {
    "flat": ((5, 3), (5,)),
    "labels with an axis": ((5, 3), (5, 1)),
    "positions": ((3, 4, 2, 2), (3, 2, 2)),
    "positions and an axis": ((2, 3, 2, 3), (2, 1, 2, 3)),
}


def right(prediction, given, rows):
    """How many of the first rows' labels are the class of the largest prediction, and how many there are."""
    n, classes = prediction.shape[:2]
    flat, chosen = prediction.reshape(n, classes, -1)[:rows], np.asarray(given).reshape(n, -1)[:rows]
    return sum(flat[s, :, p].argmax() == chosen[s, p] for s, p in np.ndindex(chosen.shape)), chosen.size


class TestAccuracy(OpTests):
    cases = {
        f"{name}, {valid} rows": OpCase(
            Accuracy(2, shape[1]),
            [
                distinct(shape),
                labels(where, shape[1]),
                np.asarray(valid, np.int32),
                np.asarray(0, np.int32),
                np.array([3.0, 7.0]),
            ],
            double=(4,),
        )
        for name, (shape, where) in SHAPES.items()
        for valid in (shape[0], 2)
    }

    def expected(self, op, inputs):
        correct, count = right(inputs[0], inputs[1], int(inputs[2]))
        return [np.asarray(0, np.int32), np.array([3.0 + correct, 7.0 + count])]


class TestAccuracyLayer(LayerTests):
    cases = {
        name: (layers.AccuracyLayer(bottoms=["x", "label"]), [distinct(shape), labels(where, shape[1])])
        for name, (shape, where) in SHAPES.items()
    }

    wrong = {
        "label out of range": (
            layers.AccuracyLayer(bottoms=["x", "label"]), [(3, 2), np.array([0, 2, 1])], "expected labels 0 to 1",
        ),
        "labels that do not fit": (
            layers.AccuracyLayer(bottoms=["x", "label"]), [(4, 3), labels((4, 2), 3)], r"\[4, 2\]",
        ),
        "a top": (lambda: layers.AccuracyLayer(bottoms=["x", "label"], tops=["y"]), [], "no tops"),
    }  # fmt: skip

    def expected(self, layer, bottoms, parameters):
        correct, count = right(*bottoms, None)
        return {"accuracy-accuracy": correct / count}


@pytest.mark.parametrize("backend", installed())
def test_the_statistic_of_the_test_phase(backend):
    x, given = distinct((5, 3)), labels((5,), 3)
    outcome = LayerCase(layers.AccuracyLayer(bottoms=["x", "label"]), [x, given], backend).outcome(Phase.TEST)
    assert outcome == {"accuracy-accuracy": right(x, given, None)[0] / 5}


def test_the_first_of_equal_predictions_counts():
    layer = layers.AccuracyLayer(bottoms=["x", "label"])
    outcome = LayerCase(layer, [np.ones((4, 3)), np.array([0, 1, 0, 2])]).outcome()
    assert outcome == {"accuracy-accuracy": 0.5}
