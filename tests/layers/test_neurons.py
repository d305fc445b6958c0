import math

import numpy as np
import pytest
from mocha_layers_std import ElementWiseLayer, Exponential, Identity, LReLU, PowerLayer, ReLU, Sigmoid, Tanh

from mocha_core.errors import ConfigurationError

X = [-800.0, -30.0, -2.0, -0.5, 0.0, 0.25, 1.0, 3.0, 40.0]


@pytest.mark.parametrize(
    ("neuron", "formula"),
    [
        (None, lambda x: x),
        (Identity(), lambda x: x),
        (ReLU(), lambda x: max(x, 0)),
        (ReLU(epsilon=0.5), lambda x: max(x, 0.5)),
        (Sigmoid(), lambda x: 1 / (1 + math.exp(-x)) if x > -700 else 0.0),
        (Tanh(), math.tanh),
        (LReLU(), lambda x: x if x > 0 else 0.01 * x),
        (Exponential(), math.exp),
    ],
)
@pytest.mark.filterwarnings("error")
def test_formula(tops_of, neuron, formula):
    x = np.array(X).reshape(3, 3)
    y = tops_of({"x": x}, PowerLayer(neuron=neuron, bottoms=["x"], tops=["y"]))["y"]
    np.testing.assert_allclose(y.ravel(), [formula(v) for v in X], rtol=1e-13, atol=1e-300)


def test_identity_records_nothing(net_of):
    data, layer = {"x": np.zeros((2, 3))}, {"bottoms": ["x", "x"], "tops": ["y"]}
    bare = net_of(data, ElementWiseLayer(**layer))
    with_identity = net_of(data, ElementWiseLayer(neuron=Identity(), **layer))
    with_relu = net_of(data, ElementWiseLayer(neuron=ReLU(), **layer))
    assert len(with_identity.plan.steps) == len(bare.plan.steps) == len(with_relu.plan.steps) - 1


def test_not_a_number_stays_visible(tops_of):
    x = np.full((1, 1), np.nan)
    for neuron in (ReLU(), Sigmoid(), Tanh(), LReLU(), Exponential()):
        assert np.isnan(tops_of({"x": x}, PowerLayer(neuron=neuron, bottoms=["x"], tops=["y"]))["y"])


def test_neurons_are_values():
    assert ReLU() == ReLU(0)
    assert ReLU() != ReLU(0.1)
    assert Sigmoid() == Sigmoid()


def test_bad_epsilon():
    with pytest.raises(ConfigurationError, match="ReLU: expected epsilon to be a finite number, received 'small'"):
        ReLU("small")
