import numpy as np
import pytest
from mocha_layers_std import ConstantInitializer, InnerProductLayer, L2Regu, NoRegu
from mocha_layers_std.inner_product import InnerProduct

from mocha_core.errors import ConfigurationError, ShapeError


def test_loops():
    random = np.random.default_rng(1)
    x, w, b = random.normal(size=(3, 2, 2, 3)), random.normal(size=(4, 12)), random.normal(size=4)
    dy = random.normal(size=(3, 4))
    y, dx, dw, db = np.zeros((3, 4)), np.zeros((3, 12)), np.zeros((4, 12)), np.zeros(4)
    for n in range(3):
        sample = x[n].ravel()
        for o in range(4):
            y[n, o] = b[o] + sum(w[o, f] * sample[f] for f in range(12))
            db[o] += dy[n, o]
            for f in range(12):
                dx[n, f] += dy[n, o] * w[o, f]
                dw[o, f] += dy[n, o] * sample[f]
    np.testing.assert_allclose(InnerProduct().forward(np, x, w, b), y, rtol=1e-12)
    gradients = InnerProduct().backward(np, [dy], [x, w, None], [None], [True, True, True])
    for ours, theirs in zip(gradients, (dx.reshape(x.shape), dw, db), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-14)


def test_layer_shares_its_parameters_over_bottoms(net_of):
    random = np.random.default_rng(2)
    data = {"a": random.normal(size=(4, 6)), "b": random.normal(size=(4, 1, 2, 3)), "c": random.normal(size=(4, 3, 2))}
    layer = InnerProductLayer(
        name="ip1", output_dim=5, bottoms=list(data), tops=["x", "y", "z"], bias_init=ConstantInitializer(-1)
    )
    net = net_of(data, layer)
    net.forward()
    w, b = net.parameters["ip1"]["weight"], net.parameters["ip1"]["bias"]
    assert (w.numpy().shape, b.numpy().shape) == ((5, 6), (5,))
    assert (w.regularizer, w.multiplier, b.regularizer, b.multiplier) == (L2Regu(1), 1.0, NoRegu(), 2.0)
    for array, top in zip(data.values(), layer.tops):
        expected = [[sum(w.numpy()[o] * row.ravel()) - 1 for o in range(5)] for row in array]
        np.testing.assert_allclose(net.blobs[top].numpy(), expected, rtol=1e-12)


def test_equal_param_keys_share(net_of):
    data = np.random.default_rng(3).normal(size=(2, 3))
    one, two = (
        InnerProductLayer(name=name, output_dim=4, param_key="tied", bottoms=["data"], tops=[name])
        for name in ("one", "two")
    )
    net = net_of({"data": data}, one, two)
    net.forward()
    np.testing.assert_array_equal(net.blobs["one"].numpy(), net.blobs["two"].numpy())


def test_output_dim_is_required():
    with pytest.raises(ConfigurationError, match=r"InnerProductLayer 'ip1': it needs output_dim\. Its fields: name"):
        InnerProductLayer(name="ip1", bottoms=["data"], tops=["ip1"])


def test_no_regularizer_is_none():
    layer = InnerProductLayer(output_dim=1, weight_regu=None, bias_regu=None, bottoms=["data"], tops=["y"])
    assert (layer.weight_regu, layer.bias_regu) == (NoRegu(), NoRegu())


def test_bottoms_must_have_as_many_features(net_of):
    layer = InnerProductLayer(name="ip1", output_dim=2, bottoms=["a", "b"], tops=["x", "y"])
    with pytest.raises(
        ShapeError, match=r"ip1.*expected weights of shape \(2, 4\) for float64\[3, 4\], received \(2, 5\)"
    ):
        net_of({"a": np.zeros((3, 5)), "b": np.zeros((3, 4))}, layer)


def test_a_bottom_needs_features(net_of):
    layer = InnerProductLayer(name="ip1", output_dim=2, bottoms=["data"], tops=["ip1"])
    with pytest.raises(ShapeError, match=r"at least 2 axes \(N, channels, ...\), received float64\[3\]"):
        net_of({"data": np.zeros(3)}, layer)
