import numpy as np
import pytest
from mocha_layers_std import SoftmaxLayer

from mocha_core.errors import ShapeError


@pytest.mark.parametrize("shape", [(4, 5), (2, 3, 4), (2, 3, 4, 2), (2, 1, 3)])
def test_formula(tops_of, shape):
    x = np.random.default_rng(1).normal(size=shape)
    y = tops_of({"x": x}, SoftmaxLayer(bottoms=["x"], tops=["y"]))["y"]
    for n in range(shape[0]):
        for position in np.ndindex(shape[2:]):
            column = (n, slice(None), *position)
            np.testing.assert_allclose(y[column], np.exp(x[column]) / sum(np.exp(x[column])), rtol=1e-12)


@pytest.mark.filterwarnings("error")
def test_large_scores(tops_of):
    x = np.array([[1e4, 0.0, -1e4], [-1e300, -1e300, -1e300]])
    y = tops_of({"x": x}, SoftmaxLayer(bottoms=["x"], tops=["y"]))["y"]
    np.testing.assert_allclose(y, [[1, 0, 0], [1 / 3, 1 / 3, 1 / 3]], rtol=1e-12)


def test_several_bottoms(tops_of):
    data = {"a": np.zeros((2, 4)), "b": np.zeros((2, 2, 3))}
    tops = tops_of(data, SoftmaxLayer(bottoms=["a", "b"], tops=["x", "y"]))
    np.testing.assert_array_equal(tops["x"], np.full((2, 4), 0.25))
    np.testing.assert_array_equal(tops["y"], np.full((2, 2, 3), 0.5))


def test_needs_channels(net_of):
    with pytest.raises(ShapeError, match=r"SoftmaxLayer\(y\).*at least 2 axes .*received float64\[3\]"):
        net_of({"x": np.zeros(3)}, SoftmaxLayer(bottoms=["x"], tops=["y"]))
