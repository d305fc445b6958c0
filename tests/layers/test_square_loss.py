import numpy as np
import pytest
from mocha_layers_std import ConvolutionLayer, SquareLossLayer
from mocha_layers_std.square_loss import SquareLoss

from mocha_core.errors import ConfigurationError, ShapeError


@pytest.mark.parametrize(("shape", "rows"), [((4, 3), 4), ((4, 3), 3), ((5,), 2), ((2, 3, 2, 2), 2)])
def test_formula(shape, rows):
    random = np.random.default_rng(1)
    prediction, label = random.normal(size=shape), random.normal(size=shape)
    cell = np.array(rows, np.int32)
    difference = (prediction - label)[:rows]
    np.testing.assert_allclose(
        SquareLoss().forward(np, prediction, label, cell), np.sum(difference**2) / (2 * rows), rtol=1e-12
    )
    expected = np.zeros(shape)
    expected[:rows] = 1.5 * difference / rows
    gradients = SquareLoss().backward(np, [np.array(1.5)], [prediction, label, cell], [None], [True, True, False])
    np.testing.assert_allclose(gradients[0], expected, rtol=1e-12)
    np.testing.assert_allclose(gradients[1], -expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("shape", "label_shape"), [((3, 4), (3, 4)), ((3, 1), (3,)), ((3,), (3, 1, 1, 1)), ((3, 2, 1, 4), (3, 2, 4))]
)
def test_layer(net_of, shape, label_shape):
    random = np.random.default_rng(2)
    x, label = random.normal(size=shape), random.normal(size=label_shape)
    net = net_of({"x": x, "label": label}, SquareLossLayer(bottoms=["x", "label"], weight=0.1))
    np.testing.assert_allclose(net.forward(), 0.1 * np.sum((x.ravel() - label.ravel()) ** 2) / 6, rtol=1e-12)


def test_gradient_reaches_the_label(net_of):
    random = np.random.default_rng(3)
    data = {"x": random.normal(size=(2, 1, 3, 3)), "image": random.normal(size=(2, 1, 3, 3))}
    net = net_of(
        data,
        ConvolutionLayer(name="c", n_filter=1, kernel=1, bottoms=["image"], tops=["label"]),
        SquareLossLayer(bottoms=["x", "label"]),
    )
    net.forward()
    net.backward()
    dlabel = (net.blobs["label"].numpy() - data["x"]) / 2
    np.testing.assert_allclose(net.gradient("c", "bias"), [dlabel.sum()], rtol=1e-12)


def test_shapes_must_fit(net_of):
    with pytest.raises(ShapeError, match=r"SquareLossLayer.*same shape, received float64\[2, 3\] and float64\[2, 4\]"):
        net_of({"x": np.zeros((2, 3)), "label": np.zeros((2, 4))}, SquareLossLayer(bottoms=["x", "label"]))


def test_bad_fields():
    with pytest.raises(ConfigurationError, match=r"expected 2 bottoms \(prediction, label\)"):
        SquareLossLayer(bottoms=["x", "y", "z"])
