import re

import numpy as np
import pytest
from mocha_layers_std import (
    ConstantInitializer,
    ConvolutionLayer,
    GaussianInitializer,
    L2Regu,
    NoRegu,
    ReLU,
    SquareLossLayer,
)
from mocha_layers_std.convolution import Convolution

from mocha_core.errors import ConfigurationError, ShapeError
from mocha_core.graph.value import Spec


def windows(x_shape, w_shape, y_shape, stride, pad, n_group):
    """For each output pixel (i, j) of filter f: where its window meets the image, and where the filter."""
    (_, channels, height, width), (filters, _, kh, kw), (sw, sh), (pw, ph) = x_shape, w_shape, stride, pad
    for f in range(filters):
        group = f // (filters // n_group)
        block = slice(group * channels // n_group, (group + 1) * channels // n_group)
        for i in range(y_shape[2]):
            for j in range(y_shape[3]):
                top, left = i * sh - ph, j * sw - pw
                rows = range(max(top, 0), min(top + kh, height))
                columns = range(max(left, 0), min(left + kw, width))
                image = (slice(None), block, slice(rows.start, rows.stop), slice(columns.start, columns.stop))
                kernel = (
                    f,
                    slice(None),
                    slice(rows.start - top, rows.stop - top),
                    slice(columns.start - left, columns.stop - left),
                )
                yield f, i, j, image, kernel


def loop_forward(x, w, b, y_shape, **geometry):
    y = np.empty(y_shape)
    for f, i, j, image, kernel in windows(x.shape, w.shape, y_shape, **geometry):
        y[:, f, i, j] = b[f] + np.sum(x[image] * w[kernel], axis=(1, 2, 3))
    return y


def loop_backward(dy, x, w, b, **geometry):
    dx, dw, db = np.zeros_like(x), np.zeros_like(w), np.zeros_like(b)
    for f, i, j, image, kernel in windows(x.shape, w.shape, dy.shape, **geometry):
        top = dy[:, f, i, j]
        db[f] += top.sum()
        dw[kernel] += np.tensordot(top, x[image], axes=1)
        dx[image] += top[:, None, None, None] * w[kernel]
    return dx, dw, db


@pytest.mark.parametrize(
    ("x_shape", "w_shape", "kernel", "stride", "pad", "n_group", "y_shape"),
    [
        # The case of Mocha's own tests: 16x10 images of 6 channels, 12 filters in 2 groups.
        ((24, 6, 10, 16), (12, 3, 4, 3), (3, 4), (1, 2), (2, 2), 2, (24, 12, 6, 18)),
        ((3, 4, 5, 6), (2, 4, 1, 1), (1, 1), (1, 1), (0, 0), 1, (3, 2, 5, 6)),
        # The size is rounded down: the last column is not used.
        ((2, 3, 6, 8), (3, 1, 2, 3), (3, 2), (2, 2), (0, 0), 3, (2, 3, 3, 3)),
    ],
)
def test_loops(x_shape, w_shape, kernel, stride, pad, n_group, y_shape):
    random = np.random.default_rng(1)
    x, w, b = random.normal(size=x_shape), random.normal(size=w_shape), random.normal(size=w_shape[0])
    op = Convolution(kernel, stride, pad, n_group)
    geometry = {"stride": stride, "pad": pad, "n_group": n_group}
    assert op.infer(*(Spec(a.shape, "float64") for a in (x, w, b))) == (Spec(y_shape, "float64"),)
    y = op.forward(np, x, w, b)
    np.testing.assert_allclose(y, loop_forward(x, w, b, y_shape, **geometry), rtol=1e-12, atol=1e-12)
    dy = random.normal(size=y_shape)
    gradients = op.backward(np, [dy], [x, w, None], [None], [True, True, True])
    for ours, theirs in zip(gradients, loop_backward(dy, x, w, b, **geometry), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-11, atol=1e-11)


def test_layer_shares_its_parameters_over_bottoms(net_of):
    random = np.random.default_rng(2)
    data = {"a": random.normal(size=(3, 4, 6, 5)), "b": random.normal(size=(3, 4, 6, 5))}
    layer = ConvolutionLayer(
        name="conv1",
        n_filter=6,
        kernel=(2, 3),
        stride=(1, 2),
        pad=(1, 0),
        n_group=2,
        bottoms=["a", "b"],
        tops=["x", "y"],
        bias_init=ConstantInitializer(0.5),
    )
    net = net_of(data, layer)
    net.forward()
    parameters = net.parameters["conv1"]
    assert list(parameters) == ["filter", "bias"]
    w, b = parameters["filter"].numpy(), parameters["bias"].numpy()
    assert w.shape == (6, 2, 3, 2)
    np.testing.assert_array_equal(b, np.full(6, 0.5))
    for bottom, top in zip(layer.bottoms, layer.tops):
        expected = loop_forward(data[bottom], w, b, (3, 6, 2, 6), stride=(1, 2), pad=(1, 0), n_group=2)
        np.testing.assert_allclose(net.blobs[top].numpy(), expected, rtol=1e-12, atol=1e-12)


def test_defaults(net_of):
    net = net_of(
        {"data": np.zeros((2, 3, 4, 5))}, ConvolutionLayer(name="c", n_filter=1, kernel=1, bottoms=["data"], tops=["c"])
    )
    net.forward()
    w, b = net.parameters["c"]["filter"], net.parameters["c"]["bias"]
    assert net.blobs["c"].shape == (2, 1, 4, 5)
    assert (w.numpy().shape, b.numpy().shape) == ((1, 3, 1, 1), (1,))
    assert (w.regularizer, w.multiplier) == (L2Regu(1), 1.0)
    assert (b.regularizer, b.multiplier) == (NoRegu(), 2.0)


def test_one_integer_is_both_and_no_regularizer_is_none(net_of):
    sizes = {"kernel": np.int64(3), "stride": 2, "pad": 1, "filter_regu": None, "bias_regu": None}
    layer = ConvolutionLayer(name="c", n_filter=1, bottoms=["data"], tops=["c"], **sizes)
    assert (layer.kernel, layer.stride, layer.pad) == ((3, 3), (2, 2), (1, 1))
    net = net_of({"data": np.zeros((1, 2, 8, 6))}, layer)
    assert net.blobs["c"].shape == (1, 1, 4, 3)
    assert [p.regularizer for p in net.parameters["c"].values()] == [NoRegu(), NoRegu()]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "ConvolutionLayer 'conv1': it needs n_filter and kernel. Its fields: name, bottoms, "),
        ({"kernel": 3}, "it needs n_filter"),
        ({"n_filter": 3}, "it needs kernel"),
    ],
)
def test_filters_and_kernel_are_required(fields, message):
    with pytest.raises(ConfigurationError, match=message):
        ConvolutionLayer(name="conv1", bottoms=["data"], tops=["conv1"], **fields)


def test_images_with_the_channels_last(net_of, caplog):
    layer = ConvolutionLayer(name="conv1", n_filter=4, kernel=3, pad=1, bottoms=["data"], tops=["conv1"])
    deep = ConvolutionLayer(name="conv2", n_filter=4, kernel=5, bottoms=["conv1"], tops=["conv2"])
    data = {"data": np.zeros((2, 32, 32, 3))}
    looks = r"float64\[2, 32, 32, 3\] looks like \(N, height, width, channels\).*images.transpose\(0, 3, 1, 2\)"
    net = net_of(data, layer)
    net.forward()
    assert [
        re.search(rf"ConvolutionLayer\(conv1\).*: its bottom {looks}", r.message) is not None for r in caplog.records
    ] == [True]
    with pytest.raises(ShapeError, match=rf"ConvolutionLayer\(conv2\).*at least 5x5 .* Blob 'data' {looks}"):
        net_of(data, layer, deep)


@pytest.mark.parametrize("shape", [(2, 3, 32, 32), (2, 32, 8, 1), (2, 64, 4, 4), (2, 1, 28, 28)])
def test_images_with_the_channels_first_are_not_warned_of(net_of, caplog, shape):
    net_of({"data": np.zeros(shape)}, ConvolutionLayer(n_filter=1, kernel=1, bottoms=["data"], tops=["y"]))
    assert not caplog.records


def test_fields_reach_the_parameters(net_of):
    layer = ConvolutionLayer(
        name="c",
        n_filter=400,
        kernel=1,
        bottoms=["data"],
        tops=["c"],
        filter_init=GaussianInitializer(mean=3, std=0.01),
        filter_regu=NoRegu(),
        bias_regu=L2Regu(250),
        filter_lr=0.5,
        bias_lr=0,
    )
    net = net_of({"data": np.zeros((1, 2, 1, 1))}, layer)
    w, b = net.parameters["c"]["filter"], net.parameters["c"]["bias"]
    assert abs(w.numpy().mean() - 3) < 0.01
    assert (w.regularizer, w.multiplier) == (NoRegu(), 0.5)
    assert (b.regularizer, b.multiplier) == (L2Regu(250), 0.0)


def test_neuron_is_applied_once_to_each_top(tops_of):
    tops = tops_of(
        {"data": np.array([[[[1.0, -2.0]]]]), "more": np.array([[[[-3.0, 4.0]]]])},
        ConvolutionLayer(
            n_filter=1,
            kernel=1,
            filter_init=ConstantInitializer(1),
            neuron=ReLU(),
            bottoms=["data", "more"],
            tops=["x", "y"],
        ),
    )
    np.testing.assert_array_equal(tops["x"], [[[[1, 0]]]])
    np.testing.assert_array_equal(tops["y"], [[[[0, 4]]]])


def test_gradients_of_several_bottoms_add_up(net_of):
    random = np.random.default_rng(3)
    images = {name: random.normal(size=(2, 2, 3, 3)) for name in ("a", "b")}
    targets = {name: random.normal(size=(2, 1, 2, 2)) for name in ("u", "v")}
    net = net_of(
        images | targets,
        ConvolutionLayer(name="c", n_filter=1, kernel=2, bottoms=["a", "b"], tops=["x", "y"]),
        SquareLossLayer(name="l1", bottoms=["x", "u"]),
        SquareLossLayer(name="l2", bottoms=["y", "v"], weight=3),
    )
    net.forward()
    net.backward()
    w, b = (net.parameters["c"][name].numpy() for name in ("filter", "bias"))
    geometry = {"stride": (1, 1), "pad": (0, 0), "n_group": 1}
    expected = 0.0
    for bottom, target, weight in (("a", "u", 1), ("b", "v", 3)):
        difference = loop_forward(images[bottom], w, b, (2, 1, 2, 2), **geometry) - targets[target]
        expected += loop_backward(weight * difference / 2, images[bottom], w, b, **geometry)[1]
    np.testing.assert_allclose(net.gradient("c", "filter"), expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kernel": (5,)}, r"expected kernel to be two integers \(width, height\), or one for both; received \(5,\)"),
        ({"stride": (0, 1)}, "expected stride to be an integer >= 1, received 0"),
        ({"pad": (-1, 0)}, "expected pad to be an integer >= 0, received -1"),
        ({"n_filter": 2.5}, "expected n_filter to be an integer >= 1, received 2.5"),
        ({"n_filter": 6, "n_group": 4}, "n_filter to be a multiple of n_group, received n_filter 6 and n_group 4"),
        ({"filter_init": 0.1}, "expected filter_init to be an Initializer such as .*, received 0.1"),
        ({"bias_regu": 0.1}, "expected bias_regu to be a Regularizer such as .* or None, received 0.1"),
        ({"bias_lr": -2}, r"expected bias_lr to be a finite number in \[0, inf\], received -2"),
        ({"neuron": ReLU}, "expected neuron to be a Neuron such as .*, received <class"),
        ({"tops": ["x", "y"]}, r"as many tops, received bottoms \['data'\] and tops \['x', 'y'\]"),
        ({"bottoms": []}, r"expected one or more bottoms and as many tops, received bottoms \[\]"),
    ],
)
def test_bad_fields(fields, message):
    with pytest.raises(ConfigurationError, match=message) as caught:
        ConvolutionLayer(
            **{"name": "conv1", "n_filter": 1, "kernel": 1, "bottoms": ["data"], "tops": ["conv1"]} | fields
        )
    assert "conv1" in str(caught.value)


@pytest.mark.parametrize(
    ("shape", "fields", "message"),
    [
        ((2, 3, 4, 4), {"kernel": (5, 3)}, "at least 5x3 .*received float64.2, 3, 4, 4. with pad .0, 0."),
        ((2, 3, 4, 4), {"n_group": 2, "n_filter": 2}, "channels to be a multiple of n_group 2"),
        ((2, 28, 28), {}, r"4 axes .* received float64\[2, 28, 28\]\. Give images of one channel as images\[:, np"),
        ((2, 3), {}, r"4 axes \(N, channels, height, width\), received float64\[2, 3\]"),
    ],
)
def test_bad_shapes(net_of, shape, fields, message):
    layer = ConvolutionLayer(
        **{"name": "conv1", "n_filter": 1, "kernel": 1, "bottoms": ["data"], "tops": ["c"]} | fields
    )
    with pytest.raises(ShapeError, match=message) as caught:
        net_of({"data": np.zeros(shape)}, layer)
    assert "ConvolutionLayer(conv1)" in str(caught.value)
