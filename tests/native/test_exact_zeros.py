"""Zero stays zero: where the receptive field is zero a convolution is exactly the bias, and the gradient of what only
zeros depend on exactly zero, by Winograd's algorithms as by direct kernels. ReLU and maxima decide by it."""

import mocha_native.kernels.channels_last_winograd as small
import mocha_native.kernels.winograd as winograd
import numpy as np
import pytest
from kernel_use import KernelUse
from mocha_layers_std.convolution import Convolution
from mocha_native.backend import NativeBackend
from mocha_native.kernels.channels_last_winograd import SmallWinograd
from mocha_native.kernels.winograd import Winograd

import mocha_core as mocha
from mocha_core import layers, neurons

LANES, FEW = 20, 3
DTYPES = ["float32", "float64"]
CASES = [  # channels, height, width, outputs, size, pad (width, height)
    (6, 14, 13, 5, 3, (1, 1)),
    (19, 11, 37, 7, 3, (0, 2)),
    (3, 12, 17, 18, 5, (2, 2)),
    (17, 9, 9, 3, 5, (0, 0)),
    (2, 3, 5, 4, 3, (4, 3)),
]


@pytest.fixture(autouse=True)
def always(monkeypatch):
    """Also where Winograd's algorithms do not pay."""
    monkeypatch.setattr(winograd, "pays", lambda call: True)
    monkeypatch.setattr(small, "pays", lambda call, layout: True)


def figure(rng, shape):
    """In each image a figure on a blank ground, at a place of its own, in some of the channels."""
    x = np.zeros(shape)
    for image in x:
        top, left = rng.integers(0, shape[2]), rng.integers(0, shape[3])
        part = image[rng.integers(0, shape[1]) :, top : top + 3, left : left + 4]
        part[...] = rng.standard_normal(part.shape) * (rng.random(part.shape) < 0.5)
    return x


def sparse(rng, shape):
    return rng.standard_normal(shape) * (rng.random(shape) < 0.02)


def blank(rng, shape):
    return np.zeros(shape)


def minus_zero(rng, shape):
    return np.where(figure(rng, shape) == 0, -0.0, 1)


def tiny(rng, shape):
    """Denormal numbers, which are not zero."""
    return np.where(figure(rng, shape) == 0, 0, 1e-310 if shape[0] % 2 else 1e-40)


def constant(rng, shape):
    return np.full(shape, rng.standard_normal())


def dense(rng, shape):
    return rng.standard_normal(shape)


def holes(rng, shape):
    """Dense but for two squares of 5x5 pixels in the last image, also at its edges."""
    x = rng.standard_normal(shape)
    for top, left in zip(rng.integers(-4, shape[2], 2), rng.integers(-4, shape[3], 2)):
        x[-1, :, max(top, 0) : top + 5, max(left, 0) : left + 5] = 0
    return x


IMAGES = [figure, sparse, blank, minus_zero, tiny, constant, dense, holes]


def empty_fields(x, size, pad):
    """(N, 1, rows, columns): whether the field, zero beyond the edges of x, is zero. `pad` may be negative."""
    (pw, ph), (height, width) = pad, x.shape[2:]
    wide = np.pad((x != 0).any(axis=1, keepdims=True), ((0, 0), (0, 0), (9, 9), (9, 9)))
    wide = wide[:, :, 9 - ph : 9 + ph + height, 9 - pw : 9 + pw + width]
    return ~np.lib.stride_tricks.sliding_window_view(wide, (size, size), axis=(2, 3)).any(axis=(4, 5))


def few(batch, dtype):
    """The batch, or 1 if it should leave lanes empty and would not."""
    return 1 if batch == FEW and NativeBackend(threads=1).lanes[dtype].width < 2 * FEW else batch


def uses(op, arrays, kind):
    """The same convolution by Winograd's algorithm with 1, 2 and 3 threads, and by a direct kernel."""
    found = [KernelUse(NativeBackend(threads=threads), op, *arrays) for threads in (1, 2, 3)]
    assert {type(use.kernel) for use in found} == {kind}
    direct = KernelUse(NativeBackend(threads=1, winograd=False), op, *arrays)
    assert type(direct.kernel) is not kind
    return found, direct


def assert_near(found, expected, dtype):
    error = np.abs(found - expected).max() / max(np.abs(expected).max(), 0.1)
    assert error <= {"float32": 1e-4, "float64": 2e-13}[dtype]


@pytest.mark.parametrize("images", IMAGES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize(("batch", "kind"), [(LANES, Winograd), (FEW, SmallWinograd)])
def test_results_of_zeros_are_the_bias(isa, rng, images, dtype, case, batch, kind):
    channels, height, width, outputs, size, pad = case
    batch = few(batch, dtype)
    op = Convolution((size, size), (1, 1), pad, 1)
    x = images(rng, (batch, channels, height, width)).astype(dtype)
    w, b = rng.standard_normal((outputs, channels, size, size)).astype(dtype), rng.standard_normal(outputs)
    b = b.astype(dtype)
    found, direct = uses(op, (x, w, b), kind)
    results = [use.forward()[0] for use in found]
    expected, empty = direct.forward()[0], empty_fields(x, size, pad)
    assert (np.where(empty, expected, b[:, None, None]) == b[:, None, None]).all()
    assert (np.where(empty, results[0], b[:, None, None]) == b[:, None, None]).all()
    assert_near(results[0], expected, dtype)
    assert [y.tobytes() for y in results[1:]] == [results[0].tobytes()] * 2


@pytest.mark.parametrize("images", IMAGES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize(("batch", "kind"), [(LANES, Winograd), (FEW, SmallWinograd)])
def test_gradients_of_zeros_are_zero(isa, rng, images, dtype, case, batch, kind):
    channels, height, width, outputs, size, pad = case
    op = Convolution((size, size), (1, 1), pad, 1)
    x = rng.standard_normal((few(batch, dtype), channels, height, width)).astype(dtype)
    x[:, 1] = 0
    w, b = rng.standard_normal((outputs, channels, size, size)).astype(dtype), np.zeros(outputs, dtype)
    found, direct = uses(op, (x, w, b), kind)
    dy = images(rng, direct.forward()[0].shape).astype(dtype)
    dy[:, 2] = 0
    empty = empty_fields(dy, size, (size - 1 - pad[0], size - 1 - pad[1]))
    for add in (0, 1):  # added to ones
        results = [use.backward(dy, add=bool(add)) for use in found]
        dx, dw, db = results[0]
        assert (np.where(empty, dx, add) == add).all()
        assert (dw[:, 1] == add).all()
        assert (dw[2] == add).all()
        assert db[2] == add
        for mine, expected in zip(results[0], direct.backward(dy, add=bool(add))):
            assert_near(mine, expected, dtype)
        for other in results[1:]:
            assert [g.tobytes() for g in other] == [g.tobytes() for g in results[0]]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("add", [False, True])
@pytest.mark.parametrize(
    ("side", "size", "pad"), [((2, 2), 5, (2, 2)), ((1, 6), 3, (1, 1)), ((3, 2), 5, (4, 3))], ids=str
)
def test_gradients_of_taps_that_meet_only_padding_are_zero(isa, rng, dtype, add, side, size, pad):
    op = Convolution((size, size), (1, 1), pad, 1)
    arrays = [rng.standard_normal(s).astype(dtype) for s in ((LANES, 5, *side), (6, 5, size, size), (6,))]
    found, direct = uses(op, arrays, Winograd)
    dy = rng.standard_normal(direct.forward()[0].shape).astype(dtype)
    expected = direct.backward(dy, add=add)[1]
    for use in found:
        dw = use.backward(dy, add=add)[1]
        assert ((dw == add) == (expected == add)).all()
        assert_near(dw, expected, dtype)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("batch", "kind"), [(LANES, Winograd), (1, SmallWinograd)])
def test_what_is_not_finite_stays_so_and_stays_where_it_is(isa, rng, value, dtype, batch, kind):
    op = Convolution((3, 3), (1, 1), (1, 1), 1)
    x = np.zeros((batch, 4, 9, 10), dtype)
    x[-1, 2, 4, 5] = value
    w, b = (rng.standard_normal(s).astype(dtype) for s in ((3, 4, 3, 3), 3))
    found, direct = uses(op, (x, w, b), kind)
    expected = direct.forward()[0]
    for use in found:
        y = use.forward()[0]
        assert (np.isfinite(y) == np.isfinite(expected)).all()
        assert (y[np.isfinite(y)] == expected[np.isfinite(y)]).all()
        if kind is Winograd:
            dy = np.where(np.isfinite(expected), 0, expected)
            dx, wanted = use.backward(dy)[0], direct.backward(dy)[0]
            assert (np.isfinite(dx) == np.isfinite(wanted)).all()


@pytest.mark.parametrize("ground", [0, 1])
@pytest.mark.parametrize("options", [{}, {"fuse": False}], ids=str)
@pytest.mark.parametrize("size", [3, 5])
@pytest.mark.parametrize("batch", [LANES, 1])
def test_gradients_of_a_net_on_a_constant_ground(isa, rng, ground, options, size, batch):
    """Those of a net without Winograd's algorithms: ReLU passes the same gradients, maxima choose the same pixels."""
    x = np.zeros((batch, 1, 28, 28))
    x[:, :, 9:20, 8:19] = rng.random((batch, 1, 11, 11)) * (rng.random((batch, 1, 11, 11)) < 0.5)
    x = abs(ground - x)
    found = []
    for winograd_too in (True, False):
        with mocha.System(
            NativeBackend(threads=1, winograd=winograd_too, **options), dtype="float64", seed=1
        ) as system:
            body = [layers.MemoryDataLayer(name="data", data=[x, np.arange(batch) % 10], batch_size=batch)]
            for bottom, top in (("data", "a"), ("a", "b")):
                kernel = {"kernel": (size, size), "pad": (size // 2, size // 2), "neuron": neurons.ReLU()}
                body.append(layers.ConvolutionLayer(name=top, n_filter=16, bottoms=[bottom], tops=[top], **kernel))
            body.append(layers.PoolingLayer(name="p", kernel=(2, 2), stride=(2, 2), bottoms=["b"], tops=["p"]))
            body.append(layers.InnerProductLayer(name="ip", output_dim=10, bottoms=["p"], tops=["ip"]))
            net = mocha.Net("net", system, [*body, layers.SoftmaxLossLayer(name="loss", bottoms=["ip", "label"])])
            net.forward()
            net.backward()
            found.append([net.gradient(name, kind) for name in "ab" for kind in ("filter", "bias")])
    for mine, expected in zip(*found, strict=True):
        assert np.abs(mine - expected).max() <= 1e-12 * np.abs(expected).max()
