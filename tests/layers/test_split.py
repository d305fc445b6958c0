import numpy as np
import pytest
from mocha_layers_std import ConvolutionLayer, SplitLayer, SquareLossLayer

from mocha_core.errors import ConfigurationError


def test_tops_are_the_bottom(tops_of):
    x = np.random.default_rng(1).normal(size=(2, 3))
    tops = tops_of({"x": x}, SplitLayer(bottoms=["x"], tops=["a", "b", "c"]))
    for top in "abc":
        np.testing.assert_array_equal(tops[top], x)


def test_records_nothing(net_of):
    data = {"x": np.zeros((2, 3))}
    steps = len(net_of(data).plan.steps)
    assert len(net_of(data, SplitLayer(bottoms=["x"], tops=["a", "b"])).plan.steps) == steps


def test_gradients_add_up(net_of):
    random = np.random.default_rng(2)
    data = {name: random.normal(size=(2, 1, 2, 2)) for name in ("x", "u", "v")}
    convolution = ConvolutionLayer(name="c", n_filter=1, kernel=1, bottoms=["x"], tops=["y"])
    split = net_of(
        data,
        convolution,
        SplitLayer(bottoms=["y"], tops=["a", "b"]),
        SquareLossLayer(name="l1", bottoms=["a", "u"]),
        SquareLossLayer(name="l2", bottoms=["b", "v"]),
    )
    split.forward()
    split.backward()
    y = split.blobs["y"].numpy()
    dy = (y - data["u"] + y - data["v"]) / 2
    np.testing.assert_allclose(split.gradient("c", "filter"), [[[[np.sum(dy * data["x"])]]]], rtol=1e-12)
    np.testing.assert_allclose(split.gradient("c", "bias"), [np.sum(dy)], rtol=1e-12)


@pytest.mark.parametrize("fields", [{"tops": []}, {"bottoms": ["x", "y"]}, {"bottoms": []}])
def test_bad_counts(fields):
    with pytest.raises(ConfigurationError, match="expected one bottom and one or more tops"):
        SplitLayer(**{"bottoms": ["x"], "tops": ["a"]} | fields)
