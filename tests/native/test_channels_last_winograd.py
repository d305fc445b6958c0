"""Winograd's convolutions of few images against the op in float64: odd sizes, edges of tiles, threads, ReLU, and when
they decline."""

import mocha_native.kernels.channels_last_winograd as module
import numpy as np
import pytest
from kernel_use import KernelUse
from mocha_layers_std.convolution import Convolution
from mocha_native.backend import NativeBackend
from mocha_native.kernels.channels_last_convolution import SmallConvolution
from mocha_native.kernels.channels_last_winograd import SmallWinograd, small_filters
from mocha_native.layout import convert

from mocha_core.compile.layout import PLAIN, Convert
from mocha_core.graph.plan import Call
from mocha_core.graph.value import Spec, Value

#: Of the largest value of a result.
ERRORS = {"float32": 2e-5, "float64": 4e-14}
CASES = [  # images, channels, height, width, outputs, size, pad (width, height)
    (1, 20, 12, 12, 50, 5, (0, 0)),
    (1, 33, 7, 9, 17, 5, (2, 1)),
    (2, 5, 9, 34, 66, 3, (1, 1)),
    (3, 1, 1, 1, 1, 3, (1, 1)),
    (4, 3, 13, 6, 5, 5, (4, 3)),
    (5, 2, 3, 3, 40, 3, (5, 6)),
    (6, 18, 5, 8, 20, 3, (0, 2)),
]


@pytest.fixture
def always(monkeypatch):
    """Also where it does not pay."""
    monkeypatch.setattr(module, "pays", lambda call, layout: True)


def problem(rng, images, channels, height, width, outputs, size, pad):
    """The op, its inputs, and y, in float64."""
    op = Convolution((size, size), (1, 1), pad, 1)
    x = rng.standard_normal((images, channels, height, width))
    w, b = rng.standard_normal((outputs, channels, size, size)), rng.standard_normal(outputs)
    return op, (x, w, b), op.forward(np, x, w, b)


def assert_near(found, expected, dtype):
    assert np.abs(found - expected).max() <= ERRORS[dtype] * max(np.abs(expected).max(), 0.1)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_both_halves(isa, always, dtype, case, rng):
    few = [n for n in range(1, case[0] + 1) if NativeBackend(threads=1).few(Value("x", (n, 1, 1, 1), dtype))]
    op, ins, y = problem(rng, few[-1], *case[1:])
    dy, results = rng.standard_normal(y.shape), []
    for threads in (1, 2, 3):
        use = KernelUse(NativeBackend(threads=threads), op, *(a.astype(dtype) for a in ins))
        assert isinstance(use.kernel, SmallWinograd)
        results.append([*use.forward(), *use.backward(dy.astype(dtype))])
    for found, expected in zip(results[0], (y, *op.backward(np, [dy], ins[:2], [], [True] * 3))):
        assert_near(found, expected, dtype)
    for other in results[1:]:
        assert [a.tobytes() for a in other] == [a.tobytes() for a in results[0]]


@pytest.mark.parametrize("size", [3, 5])
def test_channels_and_sizes_from_1_to_17(always, size):
    rng = np.random.default_rng(size)
    for n in range(1, 18, 2):
        case = int(rng.integers(1, 7)), n, n + 4, 22 - n, int(rng.integers(1, 70)), size, (size - 1, n % size)
        op, ins, y = problem(rng, *case)
        use = KernelUse(NativeBackend(threads=2), op, *(a.astype("float32") for a in ins))
        assert_near(use.forward()[0], y, "float32")


@pytest.mark.parametrize("floor", [0.0, -0.5])
def test_rectified_and_without_what_padding_channels_hold(isa, always, floor, rng):
    op, ins, y = problem(rng, *CASES[1])
    use = KernelUse(NativeBackend(threads=2), op, *(a.astype("float32") for a in ins))
    x, filters = (use.packed(use.ins[i], use.layouts.of_in(i)) for i in (0, 1))
    x[..., ins[0].shape[1] :] = np.nan
    workspace = [use.room(*spec) for spec in use.kernel.forward_workspace]
    use.run(use.kernel.rectified([x, filters, use.ins[2]], [use.outs[0], *workspace], [False], floor))
    assert_near(use.results()[0], np.maximum(y, floor), "float32")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(33, 3, 5, 5), (1, 1, 3, 3), (50, 20, 3, 3)], ids=str)
@pytest.mark.parametrize("mirrored", [False, True])
def test_filters_packed_by_c_are_those_packed_by_numpy(isa, dtype, shape, mirrored, rng):
    backend = NativeBackend(threads=2)
    block, width = backend.isa.constants["channels_last_winograd_block"], backend.lanes[dtype].width
    layout, plain = small_filters(shape[2], width, block * width, mirrored), rng.standard_normal(shape).astype(dtype)
    found, wanted = (np.full(layout.physical(Spec(shape, dtype)).shape, 7, dtype) for _ in range(2))
    layout.pack(backend, plain, wanted, gradient=False, add=False)
    x, y = Value("x", shape, dtype), Value("y", shape, dtype)
    convert(backend, Call(Convert(PLAIN, layout, False), (x,), (y,))).forward([plain], [found], [False])()
    assert_near(found, wanted, dtype)
    assert ((found == 0) == (wanted == 0)).all()


def test_when_it_is_chosen():
    shapes = (1, 32, 16, 16), (32, 32, 5, 5), (32,)
    for shape, kernel, stride, pad, groups, winograd, chosen in [
        (shapes[1], (5, 5), (1, 1), (2, 2), 1, True, True),
        (shapes[1], (5, 5), (1, 1), (2, 2), 1, False, False),
        (shapes[1], (5, 5), (2, 1), (2, 2), 1, True, False),
        ((32, 16, 5, 5), (5, 5), (1, 1), (2, 2), 2, True, False),
        ((32, 32, 3, 5), (5, 3), (1, 1), (2, 2), 1, True, False),
        ((32, 32, 7, 7), (7, 7), (1, 1), (2, 2), 1, True, False),
    ]:
        op = Convolution(kernel, stride, pad, groups)
        ins = [np.zeros(s, "float32") for s in (shapes[0], shape, shapes[2])]
        kind = type(KernelUse(NativeBackend(threads=1, winograd=winograd), op, *ins).kernel)
        assert kind is (SmallWinograd if chosen else SmallConvolution)
