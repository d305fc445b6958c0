"""Direct convolution of blobs in lanes, against the op's own functions in float64."""

import numpy as np
import pytest
from kernel_use import KernelUse
from mocha_layers_std.convolution import Convolution
from mocha_native.backend import NativeBackend
from mocha_native.compiled import Compiled
from mocha_native.kernels.convolution import packed_filters
from nets import data, parameters

import mocha_core as mocha
from mocha_core import layers, neurons, solvers
from mocha_core.compile.layout import PLAIN, Convert
from mocha_core.compile.selection import Selector
from mocha_core.graph.plan import Call
from mocha_core.graph.value import Value
from mocha_core.plugin.manager import registries
from mocha_core.testing.tolerances import TOLERANCES, assert_close

DTYPES = ["float32", "float64"]

#: batch, channels, height, width, filters; kernel, stride, pad (width first, as the op has them); groups.
CASES = {
    "1x1 and groups": (16, 6, 5, 7, 9, (1, 1), (1, 1), (0, 0), 3),
    "1x1 and stride": (17, 5, 6, 9, 7, (1, 1), (2, 3), (0, 0), 1),
    "1x1 and pad": (16, 2, 3, 4, 5, (1, 1), (1, 1), (2, 1), 1),
    "3x3": (19, 7, 9, 11, 13, (3, 3), (1, 1), (1, 1), 1),
    "3x3 without pad": (16, 3, 8, 10, 6, (3, 3), (1, 1), (0, 0), 1),
    "3x3 and more pad": (16, 4, 6, 8, 5, (3, 3), (1, 1), (2, 2), 1),
    "3x3 and stride": (20, 5, 11, 13, 8, (3, 3), (2, 2), (1, 1), 1),
    "3x3 and uneven stride": (16, 3, 11, 13, 4, (3, 3), (2, 1), (0, 1), 1),
    "5x5": (33, 3, 12, 9, 10, (5, 5), (1, 1), (2, 2), 1),
    "5x5 without pad": (16, 11, 12, 12, 10, (5, 5), (1, 1), (0, 0), 1),
    "5x5 and stride": (16, 3, 13, 14, 5, (5, 5), (2, 2), (2, 2), 1),
    "7x7": (16, 2, 9, 12, 4, (7, 7), (1, 1), (3, 3), 1),
    "7x7 and stride": (16, 3, 17, 19, 9, (7, 7), (2, 2), (3, 3), 1),
    "one channel": (18, 1, 12, 10, 6, (5, 5), (1, 1), (0, 0), 1),
    "one of everything": (11, 1, 1, 1, 1, (1, 1), (2, 2), (0, 0), 1),
    "one filter": (16, 3, 5, 5, 1, (3, 3), (1, 1), (1, 1), 1),
    "no square": (16, 3, 8, 9, 5, (4, 2), (1, 2), (1, 0), 1),
    "wide": (16, 2, 4, 70, 3, (6, 3), (1, 1), (0, 1), 1),
    "wide filters": (16, 2, 4, 14, 3, (9, 2), (1, 1), (4, 0), 1),
    "stride beyond the kernel": (16, 2, 9, 8, 3, (2, 1), (3, 2), (0, 0), 1),
    "stride, pad and a rest": (16, 2, 8, 8, 2, (3, 3), (3, 2), (1, 1), 1),
    "stride of 4": (16, 3, 15, 18, 4, (11, 11), (4, 4), (2, 2), 1),
    "stride beyond any image": (16, 2, 5, 4, 3, (2, 3), (10**9, 10**12), (0, 1), 1),
    "stride beyond the image one way": (16, 2, 5, 4, 3, (2, 3), (10**9, 2), (0, 1), 1),
    "pad as wide as the kernel": (16, 2, 3, 3, 4, (2, 2), (1, 1), (2, 2), 1),
    "pad wider than the kernel": (16, 2, 3, 4, 4, (2, 3), (1, 2), (4, 5), 1),
    "kernel larger than the image": (16, 3, 3, 2, 5, (5, 7), (1, 1), (2, 3), 1),
    "kernel as large as the image": (16, 3, 3, 4, 5, (4, 3), (1, 1), (0, 0), 1),
    "groups": (16, 6, 7, 6, 10, (3, 3), (1, 1), (1, 1), 2),
    "groups of one channel": (16, 5, 6, 5, 10, (3, 3), (1, 1), (1, 1), 5),
    "groups, stride and pad": (17, 4, 7, 9, 14, (3, 5), (2, 2), (2, 1), 2),
    "several strips": (16, 97, 4, 37, 5, (3, 3), (1, 1), (1, 1), 1),
    "many filters": (16, 23, 4, 5, 67, (3, 3), (1, 1), (1, 1), 1),
}
#: Those that threads divide in different ways.
SPLIT = [
    "1x1 and stride", "3x3", "5x5 and stride", "one of everything", "stride beyond the kernel", "groups of one channel",
    "groups, stride and pad", "several strips", "many filters",
]  # fmt: skip


def made(case, rng, dtype):
    """The op, its inputs, and a gradient of its output."""
    batch, channels, height, width, filters, kernel, stride, pad, groups = case
    op = Convolution(kernel, stride, pad, groups)
    shapes = [(batch, channels, height, width), (filters, channels // groups, *kernel[::-1]), (filters,)]
    inputs = [rng.standard_normal(shape).astype(dtype) for shape in shapes]
    dy = rng.standard_normal(op.forward(np, *inputs).shape).astype(dtype)
    return op, inputs, dy


def expected(op, inputs, dy):
    """y and the gradients, in float64."""
    wide = [a.astype(np.float64) for a in inputs]
    return [op.forward(np, *wide), *op.backward(np, [dy.astype(np.float64)], wide, [], [True] * 3)]


def used(threads, op, inputs):
    use = KernelUse(NativeBackend(threads=threads, winograd=False), op, *inputs)
    assert type(use.kernel).__module__ == "mocha_native.kernels.convolution"
    return use


def everything(threads, op, inputs, dy):
    """y and the gradients, then the gradients added to ones."""
    use = used(threads, op, inputs)
    return [*use.forward(), *use.backward(dy), *use.backward(dy, add=True)[: len(inputs)]]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CASES)
def test_convolution(isa, dtype, name, rng):
    op, inputs, dy = made(CASES[name], rng, dtype)
    y, *gradients = expected(op, inputs, dy)
    results = everything(1, op, inputs, dy)
    for found, wanted in zip(results, [y, *gradients, *(1 + g for g in gradients)], strict=True):
        assert_close(name, found, wanted, TOLERANCES[dtype] * 2)


@pytest.mark.parametrize("name", SPLIT)
def test_same_bytes_for_any_number_of_threads(name, rng):
    case = made(CASES[name], rng, "float32")
    alone = everything(1, *case)
    for threads in (2, 3):
        for a, b in zip(alone, everything(threads, *case), strict=True):
            assert a.tobytes() == b.tobytes()


@pytest.mark.parametrize("wanted", [(True, False, False), (False, True, False), (False, False, True)])
def test_single_gradients(wanted, rng):
    op, inputs, dy = made(CASES["3x3"], rng, "float64")
    found = used(2, op, inputs).backward(dy, wanted=wanted)
    assert [g is not None for g in found] == list(wanted)
    for g, e in zip(found, expected(op, inputs, dy)[1:]):
        if g is not None:
            assert_close("gradient", g, e, 1e-12)


@pytest.mark.parametrize("name", ["3x3", "5x5 and stride", "groups", "no square", "pad wider than the kernel"])
@pytest.mark.parametrize("floor", [0.0, -0.5])
def test_with_a_relu_before_or_after(isa, name, floor, rng):
    op, inputs, dy = made(CASES[name], rng, "float32")
    use = used(2, op, inputs)
    kernel, layouts = use.kernel, use.layouts
    x, w, b = (use.packed(array, layouts.of_in(i)) for i, array in enumerate(use.ins))
    workspace = [use.room(*spec) for spec in kernel.forward_workspace]
    use.run(kernel.rectified([x, w, b], [*use.outs, *workspace], [False], floor))
    y, dx, dw, db = expected(op, inputs, dy)
    assert_close("y", use.results()[0], np.maximum(y, floor), TOLERANCES["float32"])

    w = use.packed(use.ins[1], layouts.of_in(1, True))
    dy = use.packed(use.place(dy), layouts.of_out(0), True)
    workspace = [use.room(*spec) for spec in kernel.backward_workspace]
    for add in (False, True):
        outs = [use.packed_room(v.shape, v.dtype, layouts.of_gradient(i), 1) for i, v in enumerate(use.ins)]
        use.run(kernel.bottom_masked([dy, x, w, None, None], [*outs, *workspace], [add] * 3, x, floor))
        found = [use.plain(g, v, layouts.of_gradient(i)) for i, (g, v) in enumerate(zip(outs, use.ins))]
        wanted = [np.where(inputs[0] > floor, dx, 0), dw, db]
        for what, g, e in zip(["dx", "dw", "db"], found, wanted):
            assert_close(what, g, e + add, TOLERANCES["float32"])


@pytest.mark.parametrize("filters", [(12, 3, 3, 3), (10, 7, 5, 2), (6, 1, 1, 1)], ids=str)
@pytest.mark.parametrize(
    ("groups", "block", "stride", "phased"),
    [(1, 4, (1, 1), False), (2, 5, (1, 1), False), (1, 6, (1, 1), True), (2, 4, (2, 3), True), (1, 5, (3, 1), True)],
)
def test_packed_filters(isa, filters, groups, block, stride, phased, rng):
    """What C packs is what NumPy does."""
    backend, layout = NativeBackend(threads=2), packed_filters(groups, block, stride, phased)
    w = rng.standard_normal(filters)
    value = Value("w", w.shape, "float64")
    found, wanted = (np.full(layout.physical(value.spec).shape, fill) for fill in (7.0, 5.0))
    kernel = Selector(backend, registries()).choose(Call(Convert(PLAIN, layout, False), (value,), (value,)))
    runnable = kernel.forward([w], [found], [False])
    assert isinstance(runnable, Compiled)
    runnable()
    layout.pack(backend, w, wanted, gradient=False, add=False)
    np.testing.assert_array_equal(found, wanted)


def trained(**options):
    """Objectives and parameters of a net with convolutions after each other, with and without ReLU."""
    with mocha.System(NativeBackend(threads=2, winograd=False, **options), seed=2) as system:
        shapes = {"a": {"n_filter": 6, "kernel": (3, 3), "pad": (1, 1)}, "b": {"n_filter": 9, "kernel": (5, 5)}}
        shapes["c"] = {"n_filter": 7, "kernel": (3, 3), "stride": (2, 2)}
        body = [
            layers.ConvolutionLayer(name=name, bottoms=[bottom], tops=[name], neuron=neurons.ReLU(), **shapes[name])
            for bottom, name in (("data", "a"), ("a", "b"), ("b", "c"))
        ]
        body += [
            layers.InnerProductLayer(name="y", output_dim=10, bottoms=["c"], tops=["y"]),
            layers.SoftmaxLossLayer(name="loss", bottoms=["y", "label"]),
        ]
        net = mocha.Net("net", system, [data(batch=20), *body])
        solver = solvers.SGD(parameters(20))
        solver.solve(net)
        program = net.runs.training_program(solver)
        steps = {(row.layer, row.op) for row in program.profile(1, solver.schedule(0, 1))}
        arrays = [p.numpy() for group in net.parameters.values() for p in group.values()]
        return steps, [program.objectives[0], *arrays]


def test_fusions_change_rounding_only():
    steps, fused = trained()
    assert {(layer, "then_relu") for layer in "abc"} < steps
    assert {(layer, "masked_backward") for layer in "bc"} < steps
    steps, alone = trained(fuse=False)
    assert {(layer, op) for layer in "abc" for op in ("convolution", "relu")} < steps
    for a, b in zip(fused, alone, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
