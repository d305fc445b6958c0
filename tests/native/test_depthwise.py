"""Convolutions with one filter for each channel, in lanes and with channels last, against the op's own functions in
float64, in every instruction set, with 1, 2 and 3 threads."""

import numpy as np
import pytest
from kernel_use import KernelUse
from mocha_layers_std.convolution import Convolution
from mocha_native.backend import NativeBackend
from mocha_native.channels_last import ChannelsLast
from mocha_native.kernels.depthwise import Depthwise
from mocha_native.layout import Lanes

from mocha_core.testing.tolerances import TOLERANCES, assert_close

DTYPES = ["float32", "float64"]
BATCHES = [(1, ChannelsLast), (19, Lanes)]
#: channels, height, width; kernel, stride, pad (width first, as the op has them).
CASES = {
    "3x3": (19, 9, 11, (3, 3), (1, 1), (1, 1)),
    "3x3 without pad": (16, 8, 10, (3, 3), (1, 1), (0, 0)),
    "3x3 and stride": (5, 11, 14, (3, 3), (2, 2), (1, 1)),
    "3x3 and uneven stride": (33, 10, 12, (3, 3), (2, 1), (0, 1)),
    "5x5": (4, 12, 9, (5, 5), (1, 1), (2, 2)),
    "5x5 and stride": (17, 13, 14, (5, 5), (2, 2), (2, 2)),
    "7x7": (2, 9, 12, (7, 7), (1, 1), (3, 3)),
    "1x1": (6, 5, 7, (1, 1), (1, 1), (0, 0)),
    "1x1, stride and pad": (6, 5, 7, (1, 1), (2, 3), (2, 1)),
    "one dimension": (8, 1, 31, (9, 1), (1, 1), (4, 0)),
    "no square": (3, 8, 9, (4, 2), (1, 2), (1, 0)),
    "many taps": (3, 17, 14, (11, 11), (4, 4), (2, 2)),
    "stride beyond the kernel": (2, 9, 8, (2, 1), (3, 2), (0, 0)),
    "stride beyond any image": (2, 5, 4, (2, 3), (10**9, 10**12), (0, 1)),
    "pad wider than the kernel": (2, 3, 4, (2, 3), (1, 2), (4, 5)),
    "kernel larger than the image": (3, 3, 2, (5, 7), (1, 1), (2, 3)),
    "kernel as large as the image": (3, 3, 4, (4, 3), (1, 1), (0, 0)),
}


def made(name, batch, rng, dtype):
    """The op, its inputs, and a gradient of its output."""
    channels, height, width, kernel, stride, pad = CASES[name]
    op = Convolution(kernel, stride, pad, channels)
    shapes = [(batch, channels, height, width), (channels, 1, *kernel[::-1]), (channels,)]
    inputs = [rng.standard_normal(shape).astype(dtype) for shape in shapes]
    return op, inputs, rng.standard_normal(op.forward(np, *inputs).shape).astype(dtype)


def used(threads, op, inputs, layout):
    use = KernelUse(NativeBackend(threads=threads), op, *inputs)
    assert isinstance(use.kernel, Depthwise)
    assert isinstance(use.layouts.of_in(0), layout)
    return use


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize(("batch", "layout"), BATCHES)
def test_depthwise(isa, dtype, name, batch, layout, rng):
    op, inputs, dy = made(name, batch, rng, dtype)
    wide = [a.astype(np.float64) for a in inputs]
    gradients = op.backward(np, [dy.astype(np.float64)], wide, [], [True] * 3)
    results = []
    for threads in (1, 2, 3):
        use = used(threads, op, inputs, layout)
        results.append([*use.forward(), *use.backward(dy), *use.backward(dy, add=True)])
    for found, wanted in zip(results[0], [op.forward(np, *wide), *gradients, *(1 + g for g in gradients)], strict=True):
        assert_close(name, found, wanted, TOLERANCES[dtype] * 2)
    for others in results[1:]:
        assert [a.tobytes() for a in others] == [a.tobytes() for a in results[0]]


@pytest.mark.parametrize("wanted", [(True, False, False), (False, True, False), (False, False, True)])
@pytest.mark.parametrize(("batch", "layout"), BATCHES)
def test_single_gradients(wanted, batch, layout, rng):
    op, inputs, dy = made("3x3 and stride", batch, rng, "float64")
    found = used(2, op, inputs, layout).backward(dy, wanted=wanted)
    assert [g is not None for g in found] == list(wanted)
    for g, e in zip(found, op.backward(np, [dy], inputs, [], [True] * 3)):
        if g is not None:
            assert_close("gradient", g, e, 1e-12)


@pytest.mark.parametrize("name", ["3x3", "3x3 and stride", "pad wider than the kernel"])
@pytest.mark.parametrize("floor", [0.0, -0.5])
@pytest.mark.parametrize(("batch", "layout"), BATCHES)
def test_with_a_relu_before_or_after(isa, name, floor, batch, layout, rng):
    op, inputs, dy = made(name, batch, rng, "float32")
    use = used(2, op, inputs, layout)
    kernel, home = use.kernel, use.layouts.of_in(0)
    y, dx, *_ = [op.forward(np, *inputs), *op.backward(np, [dy], inputs, [], [True] * 3)]
    x = use.packed(use.ins[0], home)
    use.run(kernel.rectified([x, *use.ins[1:]], use.outs, [False], floor))
    assert_close("y", use.results()[0], np.maximum(y, floor), TOLERANCES["float32"])
    for add in (False, True):
        found = use.packed_room(inputs[0].shape, "float32", home, 1)
        top = use.packed(use.place(dy), home, True)
        use.run(kernel.bottom_masked([top, x, use.ins[1]], [found, None, None], [add, False, False], x, floor))
        wanted = np.where(inputs[0] > floor, dx, 0) + add
        assert_close("dx", use.plain(found, use.ins[0], home), wanted, TOLERANCES["float32"])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("batch", "layout"), BATCHES)
def test_results_of_zeros_are_the_bias_and_gradients_of_zeros_zero(isa, dtype, batch, layout, rng):
    op, (x, w, b), dy = made("3x3", batch, rng, dtype)
    x[:, :, :5], x[:, 1], dy[:, :, 4:], dy[:, 2] = 0, 0, 0, 0
    use = used(1, op, [x, w, b], layout)
    y = use.forward()[0]
    assert (y[:, :, :4] == b[:, None, None]).all()
    assert (y[:, 1] == b[1]).all()
    dx, dw, db = use.backward(dy)
    assert (dx[:, :, 5:] == 0).all()
    assert (dx[:, 2] == 0).all()
    assert (dw[[1, 2]] == 0).all()
    assert db[2] == 0


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize(("batch", "layout"), BATCHES)
def test_what_is_not_finite_stays_where_it_is(isa, value, batch, layout, rng):
    op, (x, w, b), _ = made("3x3", batch, rng, "float32")
    x[-1, 2, 4, 5] = value
    y = used(1, op, [x, w, b], layout).forward()[0]
    spoilt = np.zeros(y.shape, bool)
    spoilt[-1, 2, 3:6, 4:7] = True
    assert (np.isfinite(y) == ~spoilt).all()


def test_filters_of_very_many_taps_and_groups_of_several_channels_have_other_kernels(rng):
    for channels, filters, groups, side in [(2, 2, 2, 12), (4, 8, 4, 3), (4, 4, 2, 3), (1, 1, 1, 3)]:
        x, b = rng.standard_normal((1, channels, 12, 12)), rng.standard_normal(filters)
        w = rng.standard_normal((filters, channels // groups, side, side))
        op = Convolution((side, side), (1, 1), (0, 0), groups)
        use = KernelUse(NativeBackend(threads=1), op, x, w, b)
        assert not isinstance(use.kernel, Depthwise)
        assert_close("y", use.forward()[0], op.forward(np, x, w, b), 1e-12)
