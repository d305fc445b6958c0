import numpy as np
from mocha_layers_std.softmax import Softmax

from mocha_core import layers
from mocha_core.testing import LayerTests, OpCase, OpTests
from mocha_core.testing.inputs import distinct


def softmax(x):
    y = np.zeros(x.shape)
    for s, *position in np.ndindex(x.shape[0], *x.shape[2:]):
        where = (s, slice(None), *position)
        y[where] = np.exp(x[where]) / np.exp(x[where]).sum()
    return y


class TestSoftmax(OpTests):
    cases = {
        "flat": OpCase(Softmax(), [distinct((4, 5), high=3.0)]),
        "images": OpCase(Softmax(), [distinct((2, 3, 2, 3), high=3.0)]),
        "three axes": OpCase(Softmax(), [distinct((2, 4, 3), high=3.0)]),
        "one class": OpCase(Softmax(), [distinct((3, 1))]),
    }

    def expected(self, op, inputs):
        return [softmax(inputs[0])]


class TestSoftmaxLayer(LayerTests):
    cases = {
        "flat": (layers.SoftmaxLayer(bottoms=["x"], tops=["y"]), [(4, 3)]),
        "two bottoms": (layers.SoftmaxLayer(bottoms=["a", "b"], tops=["u", "v"]), [(3, 4), (3, 2, 2, 2)]),
    }

    wrong = {"one axis": (layers.SoftmaxLayer(bottoms=["x"], tops=["y"]), [(4,)], r"2 axes.*float64\[4\]")}

    def expected(self, layer, bottoms, parameters):
        return [softmax(x) for x in bottoms]


def test_large_scores_do_not_overflow():
    np.testing.assert_array_equal(Softmax().forward(np, np.array([[1e4, 0.0, -1e4]])), [[1.0, 0.0, 0.0]])
