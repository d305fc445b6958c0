import numpy as np
import pytest
from mocha_layers_std import ChannelPoolingLayer, Pooling
from mocha_layers_std.channel_pooling import MaxChannelPooling, MeanChannelPooling
from mocha_layers_std.windows import pooled_size

from mocha_core.errors import ConfigurationError, ShapeError


def channels_of(window, channels, kernel, stride, front):
    return range(max(window * stride - front, 0), min(window * stride - front + kernel, channels))


def loop_max(x, dy, kernel, stride, front):
    y, index, dx = np.empty_like(dy), np.empty(dy.shape, int), np.zeros_like(x)
    for position in np.ndindex(dy.shape):
        n, window, *rest = position
        channels = channels_of(window, x.shape[1], kernel, stride, front)
        best = max(channels, key=lambda c: (x[(n, c, *rest)], -c))
        y[position], index[position] = x[(n, best, *rest)], best
        dx[(n, best, *rest)] += dy[position]
    return y, index, dx


def loop_mean(x, dy, kernel, stride, front):
    y, dx = np.zeros_like(dy), np.zeros_like(x)
    for window in range(dy.shape[1]):
        for channel in channels_of(window, x.shape[1], kernel, stride, front):
            y[:, window] += x[:, channel] / kernel
            dx[:, channel] += dy[:, window] / kernel
    return y, dx


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize(
    ("shape", "kernel", "stride", "pad", "windows"),
    [
        # Mocha's own: kernel 3, stride 2, pad (2, 2), over 2 to 6 axes.
        ((3, 10), 3, 2, (2, 2), 6),
        ((2, 10, 3), 3, 2, (2, 2), 6),
        ((2, 10, 3, 2), 3, 2, (2, 2), 6),
        ((2, 10, 2, 2, 2, 2), 3, 2, (2, 2), 6),
        # The last window overruns; then the padding is not even; then there are gaps.
        ((2, 6, 2), 3, 2, (0, 0), 3),
        ((2, 5, 2), 4, 1, (1, 2), 5),
        ((2, 7, 2), 1, 3, (0, 0), 3),
        # One window, which ends far beyond the channels.
        ((2, 3, 2), 2**28, 1, (1, 2**28 - 4), 1),
    ],
)
def test_loops(shape, kernel, stride, pad, windows, ties):
    random = np.random.default_rng(1)
    x = random.integers(-2, 1, shape).astype(float) if ties else random.normal(size=shape) - 3
    dy = random.normal(size=(shape[0], windows, *shape[2:]))
    assert pooled_size(shape[1], kernel, stride, *pad) == windows

    op = MaxChannelPooling(kernel, stride, pad, shape[1])
    y, index, dx = loop_max(x, dy, kernel, stride, pad[0])
    ours, ours_index = op.forward(np, x)
    np.testing.assert_array_equal(ours, y)
    np.testing.assert_array_equal(ours_index, index)
    (ours_dx,) = op.backward(np, [dy, None], [None], [None, ours_index], [True])
    np.testing.assert_allclose(ours_dx, dx, rtol=1e-12, atol=1e-14)

    op = MeanChannelPooling(kernel, stride, pad, shape[1])
    y, dx = loop_mean(x, dy, kernel, stride, pad[0])
    np.testing.assert_allclose(op.forward(np, x), y, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(op.backward(np, [dy], [None], [None], [True])[0], dx, rtol=1e-12, atol=1e-14)


def test_layer(tops_of):
    x = np.random.default_rng(2).normal(size=(3, 4, 2, 2))
    fields = {"kernel": 2, "stride": 2, "bottoms": ["x"]}
    tops = tops_of(
        {"x": x},
        ChannelPoolingLayer(tops=["max"], **fields),
        ChannelPoolingLayer(tops=["mean"], pooling=Pooling.Mean, **fields),
        ChannelPoolingLayer(kernel=1, tops=["same"], bottoms=["x"]),
    )
    pairs = x.reshape(3, 2, 2, 2, 2)
    np.testing.assert_array_equal(tops["max"], pairs.max(axis=2))
    np.testing.assert_allclose(tops["mean"], pairs.mean(axis=2), rtol=1e-12)
    np.testing.assert_array_equal(tops["same"], x)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kernel": 0}, "expected kernel to be an integer >= 1, received 0"),
        ({"pad": (1, 2, 3)}, r"expected pad to be two integers \(front, end\), or one for both; received \(1, 2, 3\)"),
        ({"kernel": None}, "expected kernel to be an integer >= 1, received None"),
        ({"pad": (1, -1)}, "expected pad to be an integer >= 0, received -1"),
        ({"pooling": "sum"}, "expected pooling to be one of Pooling.Max, Pooling.Mean, received 'sum'"),
    ],
)
def test_bad_fields(fields, message):
    with pytest.raises(ConfigurationError, match=message):
        ChannelPoolingLayer(**{"kernel": 3, "bottoms": ["x"], "tops": ["y"]} | fields)


@pytest.mark.parametrize(("kernel", "pad"), [(5, 0), (7, (1, 0)), (9, 2)])
def test_a_kernel_larger_than_the_channels_is_one_window(tops_of, kernel, pad):
    x = np.random.default_rng(3).normal(size=(2, 3, 2))
    fields = {"kernel": kernel, "pad": pad, "bottoms": ["x"]}
    tops = tops_of(
        {"x": x}, ChannelPoolingLayer(tops=["max"], **fields),
        ChannelPoolingLayer(tops=["mean"], pooling=Pooling.Mean, **fields),
    )  # fmt: skip
    np.testing.assert_array_equal(tops["max"], x.max(axis=1, keepdims=True))
    np.testing.assert_allclose(tops["mean"], x.sum(axis=1, keepdims=True) / kernel, rtol=1e-12)


def test_padding_as_large_as_the_kernel(net_of):
    layer = ChannelPoolingLayer(name="cp", kernel=2, pad=2, bottoms=["x"], tops=["y"])
    with pytest.raises(ShapeError, match=r"ChannelPoolingLayer\(cp\).*padding smaller than the kernel"):
        net_of({"x": np.zeros((2, 3))}, layer)
