"""Convolutions with filters of 1x1 as matrix products, against the op's own functions in float64, in every instruction
set, with 1, 2 and 3 threads."""

import numpy as np
import pytest
from kernel_use import KernelUse
from mocha_layers_std.convolution import Convolution
from mocha_native.backend import NativeBackend
from mocha_native.kernels.pointwise import Pointwise

from mocha_core.testing.tolerances import TOLERANCES, assert_close

DTYPES = ["float32", "float64"]
OP = Convolution((1, 1), (1, 1), (0, 0), 1)
#: batch, channels, height, width; filters.
CASES = {
    "few of all": ((17, 2, 1, 1), 1),
    "one channel": ((19, 1, 3, 2), 7),
    "one filter": ((24, 9, 4, 3), 1),
    "odd": ((37, 13, 5, 3), 11),
    "more filters than channels": ((16, 5, 2, 7), 40),
    "long products": ((33, 300, 2, 2), 20),
    "many pixels": ((65, 6, 17, 9), 14),
}


def made(name, rng, dtype):
    """The inputs, and a gradient of the output."""
    shape, filters = CASES[name]
    shapes = [shape, (filters, shape[1], 1, 1), (filters,), (shape[0], filters, *shape[2:])]
    *inputs, dy = (rng.standard_normal(shape).astype(dtype) for shape in shapes)
    return inputs, dy


def used(threads, inputs):
    use = KernelUse(NativeBackend(threads=threads), OP, *inputs)
    assert isinstance(use.kernel, Pointwise)
    return use


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CASES)
def test_pointwise(isa, dtype, name, rng):
    inputs, dy = made(name, rng, dtype)
    wide = [a.astype(np.float64) for a in inputs]
    gradients = OP.backward(np, [dy.astype(np.float64)], wide, [], [True] * 3)
    results = []
    for threads in (1, 2, 3):
        use = used(threads, inputs)
        results.append([*use.forward(), *use.backward(dy), *use.backward(dy, add=True)])
    for found, wanted in zip(results[0], [OP.forward(np, *wide), *gradients, *(1 + g for g in gradients)], strict=True):
        assert_close(name, found, wanted, TOLERANCES[dtype] * 4)
    for others in results[1:]:
        assert [a.tobytes() for a in others] == [a.tobytes() for a in results[0]]


@pytest.mark.parametrize("wanted", [(True, False, False), (False, True, False), (False, False, True)])
def test_single_gradients(wanted, rng):
    inputs, dy = made("odd", rng, "float64")
    found = used(2, inputs).backward(dy, wanted=wanted)
    assert [g is not None for g in found] == list(wanted)
    for g, e in zip(found, OP.backward(np, [dy], inputs, [], [True] * 3)):
        if g is not None:
            assert_close("gradient", g, e, 1e-12)


@pytest.mark.parametrize("name", ["odd", "long products"])
@pytest.mark.parametrize("floor", [0.0, -0.5])
def test_with_a_relu_before_or_after(isa, name, floor, rng):
    inputs, dy = made(name, rng, "float32")
    use = used(2, inputs)
    kernel, home = use.kernel, use.layouts.of_in(0)
    y, dx = OP.forward(np, *inputs), OP.backward(np, [dy], inputs, [], [True] * 3)[0]
    x, bound = use.packed(use.ins[0], home), (*use.ins[1:],)
    forward = [*use.outs, *(use.room(*spec) for spec in kernel.forward_workspace)]
    use.run(kernel.rectified([x, *bound], forward, [False], floor))
    assert_close("y", use.results()[0], np.maximum(y, floor), 4 * TOLERANCES["float32"])
    workspace = [use.room(*spec) for spec in kernel.backward_workspace]
    for add in (False, True):
        found = use.packed_room(inputs[0].shape, "float32", home, 1)
        top = use.packed(use.place(dy), home, True)
        outs = [found, None, None, *workspace]
        use.run(kernel.bottom_masked([top, x, use.ins[1]], outs, [add, False, False], x, floor))
        wanted = np.where(inputs[0] > floor, dx, 0) + add
        assert_close("dx", use.plain(found, use.ins[0], home), wanted, 4 * TOLERANCES["float32"])


@pytest.mark.parametrize("dtype", DTYPES)
def test_results_of_zeros_are_the_bias_and_gradients_of_zeros_zero(isa, dtype, rng):
    (x, w, b), dy = made("many pixels", rng, dtype)
    x[:, :, :5], x[:, 1], dy[:, :, 4:], dy[:, 2] = 0, 0, 0, 0
    use = used(1, [x, w, b])
    assert (use.forward()[0][:, :, :5] == b[:, None, None]).all()
    dx, dw, db = use.backward(dy)
    assert (dx[:, :, 4:] == 0).all()
    assert (dw[2] == 0).all()
    assert (dw[:, 1] == 0).all()
    assert db[2] == 0


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_stays_where_it_is(isa, value, rng):
    (x, w, b), _ = made("odd", rng, "float32")
    x[-1, 2, 4, 1] = value
    spoilt = np.zeros((37, 11, 5, 3), bool)
    spoilt[-1, :, 4, 1] = True
    assert (np.isfinite(used(1, [x, w, b]).forward()[0]) == ~spoilt).all()


@pytest.mark.parametrize(
    ("kernel", "stride", "pad", "groups"),
    [
        ((1, 2), (1, 1), (0, 0), 1),
        ((1, 1), (2, 1), (0, 0), 1),
        ((1, 1), (1, 1), (1, 0), 1),
        ((1, 1), (1, 1), (0, 0), 2),
    ],
)
def test_other_convolutions_have_other_kernels(kernel, stride, pad, groups, rng):
    x, b, w = (rng.standard_normal(shape) for shape in ((16, 4, 6, 6), (8,), (8, 4 // groups, *kernel[::-1])))
    op = Convolution(kernel, stride, pad, groups)
    use = KernelUse(NativeBackend(threads=1), op, x, w, b)
    assert not isinstance(use.kernel, Pointwise)
    assert_close("y", use.forward()[0], op.forward(np, x, w, b), 1e-12)
