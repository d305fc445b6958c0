"""Convolutions of few pixels as matrix products: the op's own results in every instruction set, the same bytes for any
number of threads, ReLU, updates in the step of their gradients, and when they decline."""

import numpy as np
import pytest
from kernel_use import KernelUse
from mocha_layers_std.convolution import Convolution
from mocha_native.backend import NativeBackend
from mocha_native.kernels.product_convolution import ProductConvolution
from test_folding import check

from mocha_core import layers
from mocha_core.testing.tolerances import TOLERANCES, assert_close

CASES = [  # x, filters, kernel (width, height), stride, pad
    ((1, 33, 4, 4), 64, (3, 3), (1, 1), (1, 1)),
    ((2, 16, 5, 3), 48, (3, 2), (2, 1), (1, 0)),
    ((1, 20, 2, 2), 16, (1, 1), (1, 1), (0, 0)),
    ((1, 5, 7, 6), 32, (2, 3), (3, 2), (4, 3)),
    ((1, 17, 3, 5), 16, (5, 3), (1, 1), (0, 0)),
    ((2, 4, 1, 9), 64, (4, 1), (2, 1), (0, 0)),
]


def problem(rng, case, dtype):
    shape, filters, kernel, stride, pad = case
    op = Convolution(kernel, stride, pad, 1)
    w = rng.standard_normal((filters, shape[1], *kernel[::-1]))
    return op, [a.astype(dtype) for a in (rng.standard_normal(shape), w, rng.standard_normal(filters))]


def uses(op, arrays):
    if len(arrays[0]) > NativeBackend(threads=1).lanes[str(arrays[0].dtype)].width // 2:
        arrays[0] = arrays[0][:1]
    found = [KernelUse(NativeBackend(threads=n), op, *arrays) for n in (1, 2, 3)]
    assert {type(use.kernel) for use in found} == {ProductConvolution}
    return found


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_both_halves(isa, dtype, case, rng):
    op, arrays = problem(rng, case, dtype)
    found = uses(op, arrays)
    wide = [a.astype(np.float64) for a in arrays]
    y = op.forward(np, *wide)
    dy = rng.standard_normal(y.shape).astype(dtype)
    gradients = op.backward(np, [dy.astype(np.float64)], wide, [y], [True] * 3)
    results = [[*use.forward(), *use.backward(dy), *use.backward(dy, add=True)] for use in found]
    for i, wanted in enumerate([y, *gradients, *(1 + g for g in gradients)]):
        assert_close(f"result {i}", results[0][i], wanted, 3 * TOLERANCES[dtype])
    for other in results[1:]:
        assert [a.tobytes() for a in other] == [a.tobytes() for a in results[0]]


@pytest.mark.parametrize("wanted", [(True, False, False), (False, True, False), (False, False, True)])
def test_single_gradients(wanted, rng):
    op, arrays = problem(rng, CASES[0], "float32")
    use = uses(op, arrays)[1]
    dy = rng.standard_normal(use.forward()[0].shape).astype("float32")
    whole, single = use.backward(dy), use.backward(dy, wanted=wanted)
    for one, of_all, there in zip(single, whole, wanted, strict=True):
        assert one is None if not there else one.tobytes() == of_all.tobytes()


@pytest.mark.parametrize("floor", [0.0, -0.5])
def test_with_a_relu_before_or_after(isa, floor, rng):
    op, arrays = problem(rng, CASES[1], "float32")
    use = uses(op, arrays)[1]
    y = use.forward()[0]
    x, workspace = use.packed(use.ins[0], use.layouts.of_in(0)), [use.room(*s) for s in use.kernel.forward_workspace]
    use.run(use.kernel.rectified([x, *use.ins[1:]], [*use.outs, *workspace], [False], floor))
    np.testing.assert_array_equal(use.results()[0], np.maximum(y, np.float32(floor)))
    dy = rng.standard_normal(y.shape).astype("float32")
    wanted = np.where(arrays[0] > floor, use.backward(dy)[0], 0)
    workspace = [use.room(*s) for s in use.kernel.backward_workspace]
    dx = np.zeros_like(x)
    packed = use.packed(use.place(dy), use.y_layouts[0], True)
    use.run(use.kernel.bottom_masked([packed, x, use.ins[1]], [dx, None, None, *workspace], [False] * 3, x, floor))
    np.testing.assert_array_equal(use.plain(dx, use.call.ins[0], use.layouts.of_gradient(0)), wanted)


def test_fields_of_zeros_give_exactly_the_bias(isa, rng):
    op, arrays = problem(rng, CASES[0], "float32")
    arrays[0][:, :, :, 2:] = 0
    y = uses(op, arrays)[0].forward()[0]
    assert (y[..., 3:] == arrays[2][:, None, None]).all()
    assert (y[..., :2] != arrays[2][:, None, None]).any()


def test_filters_are_updated_in_the_step_of_their_gradients(isa):
    body = [
        layers.ConvolutionLayer(name="c", n_filter=64, kernel=(7, 7), stride=(5, 5), bottoms=["data"], tops=["c"]),
        layers.InnerProductLayer(name="y", output_dim=10, bottoms=["c"], tops=["y"]),
        layers.SoftmaxLossLayer(name="loss", bottoms=["y", "label"]),
    ]
    check(body, {"c": 2, "y": 2}, batch=1)


def test_when_it_is_chosen(rng):
    for shape, filters, groups, trains, chosen in [
        ((1, 64, 4, 4), 64, 1, True, True),
        ((1, 64, 4, 4), 64, 1, False, False),
        ((1, 512, 4, 4), 512, 1, False, True),
        ((1, 64, 16, 16), 64, 1, True, False),
        ((1, 64, 4, 4), 64, 2, True, False),
        ((1, 64, 4, 4), 67, 1, True, False),
    ]:
        op = Convolution((3, 3), (1, 1), (1, 1), groups)
        backend = NativeBackend(threads=1)
        backend.choice.trains = trains
        w = np.zeros((filters, shape[1] // groups, 3, 3), "float32")
        use = KernelUse(backend, op, np.zeros(shape, "float32"), w, np.zeros(filters, "float32"))
        assert isinstance(use.kernel, ProductConvolution) is chosen
