"""Third parties' layers: of an op of its own, and of existing ops."""

import numpy as np
import pytest
from acme_residual.residual import ResidualLayer
from acme_swish.swish import Swish, SwishLayer

import mocha_core as mocha
from mocha_core import layers
from mocha_core.errors import ConfigurationError, ShapeError, TopologyError
from mocha_core.testing import LayerTests, OpCase, OpTests
from mocha_core.testing.inputs import distinct
from mocha_core.value import Spec

X = distinct((4, 3), low=-3.0, high=3.0)


def swish(x, beta):
    return x / (1.0 + np.exp(-beta * x))


class TestSwishLayer(LayerTests):
    cases = {
        "layer": (SwishLayer(bottoms=["x"], tops=["y"]), [X]),
        "images": (SwishLayer(beta=2, bottoms=["x"], tops=["y"]), [(4, 2, 2, 3)]),
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
    assert [use.op for use in served] == ["inner_product", "tanh", "add", "add", "tanh", "inner_product"]
    assert {use.plugin for use in served} == {"mocha-cpu"}


def test_a_layer_runs_on_a_backend_that_it_does_not_know(kernels):
    swish = layers.SwishLayer(name="swish", bottoms=["x"], tops=["y"])
    served = [use for use in kernels("acme", swish) if use.layer == "swish"]
    assert [(use.half, use.plugin) for use in served] == [("forward", "reference")]


@pytest.mark.parametrize("beta", ["steep", float("nan"), None])
def test_a_field_that_makes_no_sense_is_refused(beta):
    with pytest.raises(ConfigurationError, match=r"SwishLayer\(y\): expected beta to be a finite number, received"):
        SwishLayer(beta=beta, bottoms=["x"], tops=["y"])


def test_bottoms_that_make_no_sense_are_refused():
    with pytest.raises(ShapeError, match=r"expected a blob of floating-point numbers, received int32\[4\]"):
        Swish(1.0).infer(Spec((4,), "int32"))
    with mocha.System("acme") as system:
        data = layers.MemoryDataLayer(name="data", data=[X, X], batch_size=4, tops=["a", "b"])
        with pytest.raises(TopologyError, match=r"SwishLayer\(y\) in net 'net', bottoms 'a' float32\[4, 3\], 'b' "):
            mocha.Net("net", system, [data, SwishLayer(bottoms=["a", "b"], tops=["y"])])
