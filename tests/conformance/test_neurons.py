"""The ops of the neurons, and every neuron attached to every computation layer."""

import dataclasses

import numpy as np
import pytest
from mocha_layers_std.neurons.exponential import ExponentialOp
from mocha_layers_std.neurons.lrelu import LReLUOp
from mocha_layers_std.neurons.relu import ReLUOp
from mocha_layers_std.neurons.sigmoid import SigmoidOp
from mocha_layers_std.neurons.tanh import TanhOp

from mocha_core import layers, neurons
from mocha_core.describe.layer import ComputationLayer
from mocha_core.plugin.manager import registries
from mocha_core.testing import LayerCase, OpCase, OpTests, assert_close, layer_checks
from mocha_core.testing.backends import installed
from mocha_core.testing.inputs import away_from, distinct

FUNCTIONS = {
    "exponential": lambda op, x: np.exp(x),
    "lrelu": lambda op, x: np.where(x < 0, x / 100, x),
    "relu": lambda op, x: np.where(x < op.epsilon, op.epsilon, x),
    "sigmoid": lambda op, x: 1 / (1 + np.exp(-x)),
    "tanh": lambda op, x: (np.exp(x) - np.exp(-x)) / (np.exp(x) + np.exp(-x)),
}


class TestNeurons(OpTests):
    cases = {
        f"{op.name}{f' {op.epsilon}' if op.name == 'relu' else ''}, {axes} axes": OpCase(
            op, [away_from(distinct(shape, low=-2.0, high=2.0), getattr(op, "epsilon", 0.0))]
        )
        for op in (ExponentialOp(), LReLUOp(), ReLUOp(0.0), ReLUOp(0.3), ReLUOp(-0.5), SigmoidOp(), TanhOp())
        for axes, shape in {1: (5,), 2: (4, 3), 4: (2, 3, 2, 2)}.items()
    }

    def expected(self, op, inputs):
        return [FUNCTIONS[op.name](op, inputs[0])]


@pytest.mark.parametrize("op", [SigmoidOp(), TanhOp()])
def test_large_numbers_do_not_overflow(op):
    y = op.forward(np, np.array([-1e4, 1e4], np.float32))
    assert y.tolist() == ([0.0, 1.0] if isinstance(op, SigmoidOp) else [-1.0, 1.0])


NEURONS = {
    "Exponential": (neurons.Exponential(), np.exp),
    "Identity": (neurons.Identity(), lambda x: x),
    "LReLU": (neurons.LReLU(), lambda x: np.where(x > 0, x, 0.01 * x)),
    "ReLU": (neurons.ReLU(epsilon=0.1), lambda x: np.maximum(x, 0.1)),
    "Sigmoid": (neurons.Sigmoid(), lambda x: 1 / (1 + np.exp(-x))),
    "Tanh": (neurons.Tanh(), np.tanh),
}
IMAGES = (2, 2, 3, 3)
LAYERS = {
    "ChannelPoolingLayer": (layers.ChannelPoolingLayer(kernel=2, bottoms=["x"], tops=["y"]), [IMAGES]),
    "ConvolutionLayer": (layers.ConvolutionLayer(n_filter=2, kernel=(2, 2), bottoms=["x"], tops=["y"]), [IMAGES]),
    "DropoutLayer": (layers.DropoutLayer(bottoms=["x"], tops=["y"]), [(4, 5)]),
    "ElementWiseLayer": (
        layers.ElementWiseLayer(operation="multiply", bottoms=["x", "z"], tops=["y"]),
        [(3, 4), (3, 4)],
    ),
    "InnerProductLayer": (layers.InnerProductLayer(output_dim=4, bottoms=["x"], tops=["y"]), [(3, 5)]),
    "LRNLayer": (layers.LRNLayer(kernel=3, bottoms=["x"], tops=["y"]), [IMAGES]),
    "PoolingLayer": (layers.PoolingLayer(kernel=(2, 2), bottoms=["x"], tops=["y"]), [IMAGES]),
    "PowerLayer": (layers.PowerLayer(power=2, shift=-0.3, bottoms=["x"], tops=["y"]), [(3, 4)]),
    "SoftmaxLayer": (layers.SoftmaxLayer(bottoms=["x"], tops=["y"]), [(3, 4)]),
    "SplitLayer": (layers.SplitLayer(bottoms=["x"], tops=["y", "w"]), [(3, 4)]),
}


def test_the_table_has_every_neuron_and_every_computation_layer():
    registered = [entry for entry in registries().layers if entry.plugin == "mocha-layers-std"]
    kinds = [entry.load() for entry in registered]
    computing = {k.__name__ for k in kinds if isinstance(k, type) and issubclass(k, ComputationLayer)}
    assert computing == set(LAYERS)
    assert {entry.name for entry in registries().neurons if entry.plugin == "mocha-layers-std"} == set(NEURONS)


@pytest.mark.parametrize("backend", [name for name in installed() if name != "strict"])
@pytest.mark.parametrize("neuron", NEURONS)
@pytest.mark.parametrize("layer", LAYERS)
def test_a_neuron_on_a_layer(layer, neuron, backend):
    (plain, shapes), (attached, function) = LAYERS[layer], NEURONS[neuron]
    bottoms = [distinct(shape, i) for i, shape in enumerate(shapes)]
    case = LayerCase(dataclasses.replace(plain, neuron=attached), bottoms, backend)
    with_neuron, without = case.outcome(), LayerCase(plain, bottoms, backend).outcome()
    for top in plain.tops:
        assert_close(top, with_neuron[top], function(without[top]), 1e-12)
    layer_checks.check_gradients(case)
    layer_checks.check_reference(case)
