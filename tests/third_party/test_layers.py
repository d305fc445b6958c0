"""Third parties' layers: of an op of its own, and of existing ops."""

import numpy as np
import pytest
from acme_residual.residual import ResidualLayer
from acme_swish.swish import Swish, SwishLayer

from mocha_core import layers
from mocha_core.api import ShapeError, Spec
from mocha_core.testing import LayerTests, OpCase, OpTests
from mocha_core.testing.inputs import distinct

X = distinct((4, 3), low=-3.0, high=3.0)


def swish(x, beta):
    return x / (1.0 + np.exp(-beta * x))


class TestSwishLayer(LayerTests):
    cases = {
        "layer": (SwishLayer(bottoms=["x"], tops=["y"]), [X]),
        "images": (SwishLayer(beta=2, bottoms=["x"], tops=["y"]), [(4, 2, 2, 3)]),
    }
    wrong = {
        "no number": (lambda: SwishLayer(beta="steep", bottoms=["x"], tops=["y"]), [X], "expected beta to be a fini"),
        "two bottoms": (SwishLayer(bottoms=["a", "b"], tops=["y"]), [X, X], "'a' float64.*'b' float64"),
    }

    def expected(self, layer, bottoms, parameters):
        return [swish(bottoms[0], layer.beta)]


class TestSwish(OpTests):
    cases = {"op": OpCase(Swish(1.0), [X]), "beta": OpCase(Swish(-1.5), [X]), "large": OpCase(Swish(1.0), [1e3 * X])}

    def expected(self, op, inputs):
        with np.errstate(over="ignore"):
            return [swish(inputs[0], op.beta)]


class TestResidualLayer(LayerTests):
    layer, bottoms = ResidualLayer(bottoms=["x"], tops=["y"]), [X]
    wrong = {"images": (layer, [(4, 1, 2, 3)], r"expected a blob with 2 axes \(N, features\), received")}

    def expected(self, layer, bottoms, parameters):
        (x,) = bottoms
        return [x + np.tanh(x @ parameters["weight"].T + parameters["bias"])]


def test_they_are_in_the_namespace():
    assert layers.SwishLayer is SwishLayer
    assert layers.ResidualLayer is ResidualLayer
    assert {"SwishLayer", "ResidualLayer", "PoolingLayer"} <= set(dir(layers))


def test_a_layer_with_an_op_of_its_own_takes_under_30_lines(lines_of_code):
    assert 15 < lines_of_code("acme-swish", "swish") < 30


def test_a_layer_of_existing_ops_runs_on_their_kernels(kernels):
    residual = layers.ResidualLayer(name="residual", bottoms=["x"], tops=["y"])
    served = [use for use in kernels("cpu", residual) if use.layer == "residual"]
    # Behind an addition the gradient is its inputs' as it is, so no kernel runs there.
    assert [use.op for use in served] == ["inner_product", "tanh", "add", "tanh", "inner_product"]
    assert {use.plugin for use in served} == {"mocha-cpu"}


def test_a_layer_runs_on_a_backend_that_it_does_not_know(kernels):
    swish = layers.SwishLayer(name="swish", bottoms=["x"], tops=["y"])
    served = [use for use in kernels("acme", swish) if use.layer == "swish"]
    assert [(use.half, use.plugin) for use in served] == [("forward", "reference")]


def test_an_op_for_numbers_with_a_fraction_refuses_others():
    with pytest.raises(ShapeError, match=r"expected a blob of floating-point numbers, received int32\[4\]"):
        Swish(1.0).infer(Spec((4,), "int32"))
