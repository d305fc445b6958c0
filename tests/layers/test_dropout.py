import numpy as np
import pytest
from mocha_layers_std import ConvolutionLayer, DropoutLayer, SquareLossLayer
from mocha_layers_std.dropout import Dropout

from mocha_core.errors import ConfigurationError
from mocha_core.graph.plan import Phase
from mocha_core.graph.random import uniform


@pytest.mark.parametrize(("ratio", "auto_scale", "factor"), [(0.6, True, 2.5), (0.25, False, 1.0)])
def test_mask(ratio, auto_scale, factor):
    x = np.random.default_rng(1).normal(size=(5, 3, 2))
    op = Dropout(ratio, auto_scale, seed=2**40 + 9, stream=77)
    cells = np.array(12), np.array(100)
    u = uniform(np, 2**40 + 9, 77, *cells, 5, 6).reshape(5, 3, 2)
    expected = np.where(u > ratio, factor * x, 0)
    np.testing.assert_allclose(op.forward(np, x, *cells), expected, rtol=1e-12)
    (dx, *others) = op.backward(np, [x], [None, *cells], [None], [True, False, False])
    np.testing.assert_allclose(dx, expected, rtol=1e-12)
    assert others == [None, None]


def test_share_of_zeros_and_expectation():
    y = Dropout(0.3, True, 1, 1).forward(np, np.ones((200, 500)), np.array(0), np.array(0))
    assert abs(np.mean(y == 0) - 0.3) < 0.005
    assert abs(np.mean(y) - 1) < 0.01


def test_mask_changes_with_iteration_and_follows_the_rows():
    op, x = Dropout(0.5, True, 1, 1), np.ones((6, 40))
    zero = np.array(0)
    whole = op.forward(np, x, zero, zero)
    assert not np.array_equal(whole, op.forward(np, x, np.array(1), zero))
    np.testing.assert_array_equal(whole[4:], op.forward(np, x[4:], zero, np.array(4)))


def test_infinity_is_dropped_too():
    y = Dropout(0.5, True, 1, 1).forward(np, np.full((4, 8), np.inf), np.array(0), np.array(0))
    assert set(np.unique(y)) == {0, np.inf}


def test_drops_in_training_only(net_of):
    x = np.ones((20, 30))
    net = net_of({"a": x, "b": x}, DropoutLayer(ratio=0.4, bottoms=["a", "b"], tops=["y", "z"]))
    net.forward()
    y, z = net.blobs["y"].numpy(), net.blobs["z"].numpy()
    assert set(np.unique(y)) == {0, 1 / 0.6}
    assert not np.array_equal(y, z)
    net.forward(Phase.TEST)
    np.testing.assert_array_equal(net.blobs["y"].numpy(), x)
    np.testing.assert_array_equal(net.blobs["z"].numpy(), x)


def test_layers_of_different_names_drop_differently(tops_of):
    tops = tops_of(
        {"x": np.ones((4, 30))},
        DropoutLayer(name="one", bottoms=["x"], tops=["y"]),
        DropoutLayer(name="two", bottoms=["x"], tops=["z"]),
    )
    assert not np.array_equal(tops["y"], tops["z"])


def test_in_place_backward_uses_the_mask_of_forward(net_of):
    random = np.random.default_rng(2)
    data = {"x": random.normal(size=(3, 1, 4, 4)), "u": random.normal(size=(3, 1, 4, 4))}
    net = net_of(
        data,
        ConvolutionLayer(name="c", n_filter=1, kernel=1, bottoms=["x"], tops=["y"]),
        DropoutLayer(name="drop", bottoms=["y"], tops=["y"]),
        SquareLossLayer(name="loss", bottoms=["y", "u"]),
    )
    net.forward()
    net.backward()
    y = net.blobs["y"].numpy()
    dy = np.where(y == 0, 0, 2 * (y - data["u"]) / 3)
    assert 0 < np.mean(y == 0) < 1
    np.testing.assert_allclose(net.gradient("c", "filter"), [[[[np.sum(dy * data["x"])]]]], rtol=1e-12)


@pytest.mark.parametrize("ratio", [1, -0.1, 1.5, None, float("nan")])
def test_bad_ratio(ratio):
    with pytest.raises(ConfigurationError, match=r"DropoutLayer\(y\): expected ratio"):
        DropoutLayer(ratio=ratio, bottoms=["x"], tops=["y"])


@pytest.mark.parametrize("ratio", [0, 0.0])
def test_a_ratio_of_zero_keeps_everything(net_of, ratio):
    x = np.ones((3, 4))
    net = net_of({"x": x}, DropoutLayer(ratio=ratio, bottoms=["x"], tops=["y"]))
    net.forward()
    np.testing.assert_array_equal(net.blobs["y"].numpy(), x)


def test_bad_counts():
    with pytest.raises(ConfigurationError, match=r"as many tops, received bottoms \['x', 'y'\] and tops \['x'\]"):
        DropoutLayer(bottoms=["x", "y"], tops=["x"])
