import numpy as np
import pytest
from mocha_layers_std import Pooling, PoolingLayer
from mocha_layers_std.pooling import MaxPooling, MeanPooling
from mocha_layers_std.windows import pooled_size

from mocha_core.errors import ConfigurationError, ShapeError, UnknownNameError


def windows(shape, y_shape, kernel, stride, pad):
    """For each output pixel: the part of its window inside the image, and the size of that inside the padding."""
    height, width = shape[2:]
    for i in range(y_shape[2]):
        for j in range(y_shape[3]):
            top, left = i * stride[1] - pad[1], j * stride[0] - pad[0]
            bottom, right = min(top + kernel[1], height + pad[1]), min(left + kernel[0], width + pad[0])
            size = (bottom - top) * (right - left)
            yield i, j, range(max(top, 0), min(bottom, height)), range(max(left, 0), min(right, width)), size


def loop_max(x, dy, **geometry):
    y, index, dx = np.empty_like(dy), np.empty(dy.shape, int), np.zeros_like(x)
    for n, c in np.ndindex(x.shape[:2]):
        for i, j, rows, columns, _ in windows(x.shape, dy.shape, **geometry):
            best = None
            for row in rows:
                for column in columns:
                    if best is None or x[n, c, row, column] > x[(n, c, *best)]:
                        best = (row, column)
            y[n, c, i, j] = x[(n, c, *best)]
            index[n, c, i, j] = best[0] * x.shape[3] + best[1]
            dx[(n, c, *best)] += dy[n, c, i, j]
    return y, index, dx


def loop_mean(x, dy, **geometry):
    y, dx = np.empty_like(dy), np.zeros_like(x)
    for i, j, rows, columns, size in windows(x.shape, dy.shape, **geometry):
        part = np.ix_(range(x.shape[0]), range(x.shape[1]), rows, columns)
        y[:, :, i, j] = x[part].sum(axis=(2, 3)) / size
        dx[part] += dy[:, :, i, j, None, None] / size
    return y, dx


GEOMETRIES = [
    # Mocha's own: 18x12 and 16x10 (width x height).
    ((12, 18), (3, 4), (1, 2), (0, 0), (5, 16)),
    ((10, 16), (3, 4), (1, 2), (2, 2), (6, 18)),
    # The window overruns the image (the pools of the CIFAR-10 net) and the padding.
    ((8, 8), (3, 3), (2, 2), (0, 0), (4, 4)),
    ((7, 9), (4, 3), (3, 3), (1, 2), (3, 4)),
    # Gaps between the windows.
    ((7, 6), (1, 2), (3, 4), (0, 0), (2, 2)),
    ((3, 3), (3, 3), (1, 1), (0, 0), (1, 1)),
]


@pytest.mark.parametrize(("size", "kernel", "stride", "pad", "pooled"), GEOMETRIES)
@pytest.mark.parametrize("ties", [False, True])
def test_loops(size, kernel, stride, pad, pooled, ties):
    random = np.random.default_rng(1)
    x = random.integers(-2, 1, (2, 3, *size)).astype(float) if ties else random.normal(size=(2, 3, *size)) - 3
    dy = random.normal(size=(2, 3, *pooled))
    geometry = {"kernel": kernel, "stride": stride, "pad": pad}

    op = MaxPooling(kernel, stride, pad, *size)
    y, index, dx = loop_max(x, dy, **geometry)
    ours, ours_index = op.forward(np, x)
    np.testing.assert_array_equal(ours, y)
    np.testing.assert_array_equal(ours_index, index)
    assert ours_index.dtype == np.int32
    (ours_dx,) = op.backward(np, [dy, None], [None], [None, ours_index], [True])
    np.testing.assert_allclose(ours_dx, dx, rtol=1e-12, atol=1e-14)

    op = MeanPooling(kernel, stride, pad, *size)
    y, dx = loop_mean(x, dy, **geometry)
    np.testing.assert_allclose(op.forward(np, x), y, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(op.backward(np, [dy], [None], [None], [True])[0], dx, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "pad", "pooled"),
    [
        *((7, 3, 2, 1, 4), (6, 3, 2, 1, 4), (5, 2, 2, 0, 3), (5, 2, 2, 1, 3), (6, 2, 2, 1, 4)),
        *((4, 2, 3, 1, 2), (32, 3, 2, 0, 16), (55, 3, 2, 0, 27), (13, 3, 2, 0, 6), (24, 2, 2, 0, 12)),
        # A window of the formula that would lie beyond the image is left out.
        (5, 1, 3, 0, 2),
    ],
)
def test_sizes(size, kernel, stride, pad, pooled):
    assert pooled_size(size, kernel, stride, pad, pad) == pooled


def test_padding_never_wins_and_counts_in_means(tops_of):
    x = np.array([[[[-4.0, -3.0], [-2.0, -1.0]]]])
    fields = {"kernel": (2, 2), "stride": (2, 2), "pad": (1, 1), "bottoms": ["x"]}
    tops = tops_of(
        {"x": x}, PoolingLayer(tops=["max"], **fields), PoolingLayer(tops=["mean"], pooling=Pooling.Mean, **fields)
    )
    np.testing.assert_array_equal(tops["max"], x)
    np.testing.assert_array_equal(tops["mean"], x / 4)


def test_overrun_does_not_count_in_means(tops_of):
    # 32x32 under 3x3 windows, stride 2: the last row and column of windows have 2 of 3 pixels.
    layer = PoolingLayer(kernel=(3, 3), stride=(2, 2), pooling="mean", bottoms=["x"], tops=["y"])
    y = tops_of({"x": np.ones((1, 1, 32, 32))}, layer)["y"]
    assert y.shape == (1, 1, 16, 16)
    np.testing.assert_allclose(y, 1, rtol=1e-12)


@pytest.mark.filterwarnings("error")
def test_nan_and_infinity():
    x = np.array([[[[1.0, np.nan, 2.0, -np.inf]]]])
    y, index = MaxPooling((2, 1), (1, 1), (0, 0), 1, 4).forward(np, x)
    np.testing.assert_array_equal(y, [[[[np.nan, np.nan, 2.0]]]])
    np.testing.assert_array_equal(index, [[[[1, 1, 2]]]])
    y, index = MaxPooling((2, 1), (2, 1), (1, 0), 1, 4).forward(np, np.full((1, 1, 1, 4), -np.inf))
    np.testing.assert_array_equal(index, [[[[0, 1, 3]]]])
    assert np.all(y == -np.inf)


def test_several_bottoms_of_different_sizes(tops_of):
    random = np.random.default_rng(2)
    data = {"a": random.normal(size=(2, 1, 4, 4)), "b": random.normal(size=(2, 3, 2, 6))}
    tops = tops_of(data, PoolingLayer(kernel=(2, 2), stride=(2, 2), bottoms=["a", "b"], tops=["x", "y"]))
    for bottom, top in (("a", "x"), ("b", "y")):
        n, c, h, w = data[bottom].shape
        np.testing.assert_array_equal(tops[top], data[bottom].reshape(n, c, h // 2, 2, w // 2, 2).max(axis=(3, 5)))


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "pad"),
    [((2, 2), 3, 2, 0), ((3, 3), 5, 1, 0), ((7, 4), (4, 9), (3, 1), 0), ((2, 3), 9, 2, 1), ((1, 1), 100, 1, 2)],
)
def test_a_window_larger_than_the_image_is_clipped_to_it(tops_of, net_of, size, kernel, stride, pad):
    x = np.random.default_rng(4).normal(size=(2, 2, *size))
    fields = {"kernel": kernel, "stride": stride, "pad": pad, "bottoms": ["x"]}
    maximum, mean = PoolingLayer(tops=["max"], **fields), PoolingLayer(tops=["mean"], pooling="mean", **fields)
    tops = tops_of({"x": x}, maximum, mean)
    shape = tops["max"].shape
    geometry = {name: getattr(maximum, name) for name in ("kernel", "stride", "pad")}
    np.testing.assert_array_equal(tops["max"], loop_max(x, np.empty(shape), **geometry)[0])
    np.testing.assert_allclose(tops["mean"], loop_mean(x, np.empty(shape), **geometry)[0], rtol=1e-12)
    (kw, kh), (_, sh), (pw, ph) = geometry.values()
    assert shape[2:] == (1 if kh >= size[0] + 2 * ph else -(-(size[0] - kh) // sh) + 1, 1)
    assert kw >= size[1] + 2 * pw


def test_the_kernel_is_required():
    with pytest.raises(ConfigurationError, match=r"PoolingLayer 'pool1': it needs kernel\. Its fields: name, "):
        PoolingLayer(name="pool1", bottoms=["x"], tops=["pool1"])


@pytest.mark.parametrize("pooling", [Pooling.Mean, "mean", "Mean", "MEAN"])
def test_a_kind_by_its_name(pooling):
    assert PoolingLayer(kernel=2, pooling=pooling, bottoms=["x"], tops=["y"]).pooling is Pooling.Mean


def test_a_kind_that_is_not_there():
    with pytest.raises(UnknownNameError, match=r"Pooling has no member 'Average'\. It has: Max, Mean\."):
        _ = Pooling.Average
    assert not hasattr(Pooling, "Average")


def test_bad_pooling():
    with pytest.raises(ConfigurationError, match=r"pool1.*one of Pooling.Max, Pooling.Mean, received 'median'"):
        PoolingLayer(name="pool1", kernel=2, pooling="median", bottoms=["x"], tops=["pool1"])


@pytest.mark.parametrize(
    ("fields", "message"),
    [({"kernel": (2, 3), "pad": (2, 1)}, "padding smaller than the kernel, received kernel 2, padding 2 and 2")],
)
def test_bad_windows(net_of, fields, message):
    layer = PoolingLayer(name="pool1", bottoms=["x"], tops=["pool1"], **fields)
    with pytest.raises(ShapeError, match=message) as caught:
        net_of({"x": np.zeros((1, 1, 8, 8))}, layer)
    assert "PoolingLayer(pool1)" in str(caught.value)
