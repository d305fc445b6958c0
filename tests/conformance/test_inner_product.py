import numpy as np
from mocha_layers_std.inner_product import InnerProduct

from mocha_core import layers, neurons
from mocha_core.testing import LayerTests, OpCase, OpTests
from mocha_core.testing.inputs import distinct


class TestInnerProduct(OpTests):
    cases = {
        "flat": OpCase(InnerProduct(), [distinct((4, 3)), distinct((5, 3), 1), distinct((5,), 2)]),
        "images": OpCase(InnerProduct(), [distinct((2, 3, 2, 2)), distinct((4, 12), 1), distinct((4,), 2)]),
        "wide": OpCase(InnerProduct(), [distinct((3, 5)), distinct((20, 5), 1), distinct((20,), 2)]),
        "one row, one output": OpCase(InnerProduct(), [distinct((1, 6)), distinct((1, 6), 1), distinct((1,), 2)]),
    }

    def expected(self, op, inputs):
        x, w, b = inputs
        return [np.array([[sum(row.ravel() * weights) for weights in w] for row in x]) + b]


class TestInnerProductLayer(LayerTests):
    cases = {
        "flat": (layers.InnerProductLayer(output_dim=3, bottoms=["x"], tops=["y"]), [(4, 5)]),
        "images": (layers.InnerProductLayer(output_dim=2, bottoms=["x"], tops=["y"]), [(3, 2, 2, 2)]),
        "three bottoms": (
            layers.InnerProductLayer(output_dim=2, bottoms=["a", "b", "c"], tops=["u", "v", "w"]),
            [(3, 4), (3, 4), (3, 2, 2)],
        ),
        "one bottom twice": (layers.InnerProductLayer(output_dim=2, bottoms=["a", "a"], tops=["u", "v"]), [(3, 4)]),
        "neuron": (layers.InnerProductLayer(output_dim=4, bottoms=["x"], tops=["y"], neuron=neurons.Tanh()), [(3, 4)]),
    }

    wrong = {
        "one axis": (layers.InnerProductLayer(output_dim=2, bottoms=["x"], tops=["y"]), [(4,)], r"float64\[4\]"),
        "bottoms of different sizes": (
            layers.InnerProductLayer(output_dim=2, bottoms=["a", "b"], tops=["u", "v"]),
            [(3, 4), (3, 5)],
            "weight|features",
        ),
        "no outputs": (lambda: layers.InnerProductLayer(output_dim=0, bottoms=["x"], tops=["y"]), [], "output_dim"),
    }

    def expected(self, layer, bottoms, parameters):
        named = dict(zip(dict.fromkeys(layer.bottoms), bottoms))
        tops = [
            named[name].reshape(len(named[name]), -1) @ parameters["weight"].T + parameters["bias"]
            for name in layer.bottoms
        ]
        return [np.tanh(top) for top in tops] if layer.neuron else tops
