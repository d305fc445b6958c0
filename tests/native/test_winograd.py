"""Winograd's convolutions against the op in float64: odd sizes, edges of tiles, threads, fusions, errors, and when it
declines."""

import itertools

import mocha_native.kernels.winograd as winograd
import numpy as np
import pytest
from kernel_use import KernelUse
from mocha_layers_std.convolution import Convolution
from mocha_native.backend import NativeBackend
from mocha_native.kernels.winograd import FILTERS, Winograd

import mocha_core as mocha
from mocha_core import layers, neurons, solvers
from mocha_core.compile.layout import PLAIN, Convert
from mocha_core.compile.selection import Selector
from mocha_core.graph.plan import Call
from mocha_core.graph.value import Value
from mocha_core.plugin.manager import registries
from mocha_core.testing.inputs import constant

#: Of the largest value of a result.
ERRORS = {"float32": 2e-5, "float64": 4e-14}
CASES = [  # batch, channels, height, width, outputs, size, pad (width, height)
    (16, 4, 8, 8, 6, 3, (1, 1)),
    (17, 1, 1, 1, 1, 3, (1, 1)),
    (33, 5, 7, 9, 7, 5, (2, 1)),
    (20, 3, 9, 34, 5, 5, (4, 3)),
    (18, 17, 5, 40, 13, 3, (0, 2)),
    (40, 2, 3, 3, 9, 3, (5, 6)),
    (16, 11, 12, 12, 16, 5, (0, 0)),
    (23, 14, 6, 5, 2, 3, (2, 0)),
    (9, 7, 13, 11, 8, 5, (2, 2)),
]


@pytest.fixture
def always(monkeypatch):
    """Also where it does not pay."""
    monkeypatch.setattr(winograd, "pays", lambda call: True)


class Problem:
    """One convolution, in float64."""

    def __init__(self, rng, batch, channels, height, width, outputs, size, pad):
        self.op = Convolution((size, size), (1, 1), pad, 1)
        self.x = rng.standard_normal((batch, channels, height, width))
        self.w = rng.standard_normal((outputs, channels, size, size))
        self.b = rng.standard_normal(outputs)
        self.y = self.op.forward(np, self.x, self.w, self.b)
        self.dy = rng.standard_normal(self.y.shape)

    def gradients(self, dy=None):
        return self.op.backward(np, [self.dy if dy is None else dy], [self.x, self.w], [], [True] * 3)

    def use(self, dtype, threads=2):
        use = KernelUse(NativeBackend(threads=threads), self.op, *(a.astype(dtype) for a in (self.x, self.w, self.b)))
        assert isinstance(use.kernel, Winograd)
        return use


def assert_near(found, expected, dtype, shift=0.0):
    for f, e in zip(found, expected, strict=True):
        assert np.abs(f - (e + shift)).max() <= ERRORS[dtype] * max(np.abs(e).max(), 0.1)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_both_halves(isa, always, dtype, case, rng):
    problem, results = Problem(rng, *case), []
    if case[0] <= NativeBackend(threads=1).lanes[dtype].width // 2:
        pytest.skip("in no lanes")
    for threads in (1, 2, 3):
        use, dy = problem.use(dtype, threads), problem.dy.astype(dtype)
        results.append([*use.forward(), *use.backward(dy), *use.backward(dy, add=True)])
    assert_near(results[0][:1], [problem.y], dtype)
    assert_near(results[0][1:4], problem.gradients(), dtype)
    assert_near(results[0][4:], problem.gradients(), dtype, 1)
    for other in results[1:]:
        assert [a.tobytes() for a in other] == [a.tobytes() for a in results[0]]


@pytest.mark.parametrize("size", [3, 5])
def test_channels_and_sizes_from_1_to_17(always, size):
    rng = np.random.default_rng(size)
    for n in range(1, 18):
        problem = Problem(
            rng, int(rng.integers(9, 40)), n, n + 4, 22 - n, int(rng.integers(1, 18)), size, (size - 1, n % size)
        )
        use = problem.use("float32", threads=1)
        assert_near(use.forward(), [problem.y], "float32")
        assert_near(use.backward(problem.dy.astype("float32")), problem.gradients(), "float32")


@pytest.mark.parametrize("wanted", list(itertools.product([False, True], repeat=3))[1:], ids=str)
def test_gradients_that_are_wanted(always, wanted, rng):
    problem = Problem(rng, *CASES[2])
    found = problem.use("float64").backward(problem.dy, wanted=wanted)
    assert [g is not None for g in found] == list(wanted)
    expected = problem.gradients()
    assert_near([g for g in found if g is not None], [g for g, w in zip(expected, wanted) if w], "float64")


@pytest.mark.parametrize("floor", [0.0, -0.5])
def test_rectified_and_masked(isa, always, floor, rng):
    problem = Problem(rng, *CASES[2])
    use = problem.use("float64")
    lanes = use.layouts.of_out(0)
    x, top = use.packed(use.ins[0], lanes), use.packed(use.place(problem.dy), lanes, gradient=True)
    filters = [use.packed(use.ins[1], use.layouts.of_in(1, backward)) for backward in (False, True)]
    workspace = [use.room(*spec) for spec in use.kernel.forward_workspace]
    use.run(use.kernel.rectified([x, filters[0], use.ins[2]], [use.outs[0], *workspace], [False], floor))
    assert_near(use.results(), [np.maximum(problem.y, floor)], "float64")

    workspace = [use.room(*spec) for spec in use.kernel.backward_workspace]
    dx, dw, db = problem.gradients()
    for add in (False, True):
        found = [
            use.packed_room(use.ins[0].shape, "float64", lanes, 1),
            *(use.room(g.shape, "float64", 1) for g in (dw, db)),
        ]
        operands = [top, x, filters[1], None, None]
        use.run(use.kernel.bottom_masked(operands, [*found, *workspace], [add] * 3, x, floor))
        found[0] = use.plain(found[0], dx, lanes)
        assert_near(found, [np.where(problem.x > floor, dx, 0), dw, db], "float64", float(add))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("filters", FILTERS.values(), ids=str)
@pytest.mark.parametrize("shape", [(1, 1), (5, 18), (33, 7)], ids=str)
def test_filters_are_packed_as_numpy_does(isa, dtype, filters, shape, rng):
    backend = NativeBackend(threads=3)
    size = filters.points - winograd.TILE + 1
    plain = rng.standard_normal((*shape, size, size)).astype(dtype)
    for add in (False, True):
        x = Value("x", plain.shape, dtype)
        found, expected = (np.ones(filters.physical(x.spec).shape, dtype) for _ in range(2))
        kernel = Selector(backend, registries()).choose(Call(Convert(PLAIN, filters, False), (x,), (x,)))
        kernel.forward([plain], [found], [add])()
        filters.pack(backend, plain, expected, gradient=False, add=add)
        np.testing.assert_allclose(
            found[:, : -winograd.GAP], expected[:, : -winograd.GAP], atol=np.finfo(dtype).eps * 8
        )


@pytest.mark.parametrize("case", [(16, 128, 12, 12, 32, 3, (1, 1)), (32, 32, 16, 16, 32, 5, (2, 2))], ids=str)
def test_errors_of_realistic_sizes(case, rng):
    """Small against the largest value, in each half."""
    problem = Problem(rng, *case)
    use = problem.use("float32")
    found = [*use.forward(), *use.backward(problem.dy.astype("float32"))]
    for f, e in zip(found, [problem.y, *problem.gradients()], strict=True):
        assert np.abs(f - e).max() / np.abs(e).max() < 1.5e-5


def chosen(op, x, w, **options):
    values = (Value("x", x, "float32"), Value("w", w, "float32"), Value("b", w[:1], "float32"))
    y = op.infer(*(v.spec for v in values))[0]
    return Selector(NativeBackend(**options), registries()).choose(Call(op, values, (Value("y", y.shape, "float32"),)))


@pytest.mark.parametrize("size", [3, 5])
def test_it_is_chosen_where_it_is_faster(size):
    op, x = Convolution((size, size), (1, 1), (1, 1), 1), (64, 32, 16, 16)
    assert isinstance(chosen(op, x, (32, 32, size, size)), Winograd)
    assert not isinstance(chosen(op, x, (32, 32, size, size), winograd=False), Winograd)
    assert not isinstance(chosen(op, (1, *x[1:]), (32, 32, size, size)), Winograd)
    assert not isinstance(chosen(op, (64, 1, 16, 16), (32, 1, size, size)), Winograd)
    assert not isinstance(chosen(op, (64, 32, size - 2, size - 2), (32, 32, size, size)), Winograd)


@pytest.mark.parametrize(
    ("kernel", "stride", "groups"), [((3, 5), (1, 1), 1), ((3, 3), (2, 1), 1), ((7, 7), (1, 1), 1), ((3, 3), (1, 1), 2)]
)
def test_it_declines_what_it_cannot_do(kernel, stride, groups):
    op, w = Convolution(kernel, stride, (1, 1), groups), (32, 32 // groups, *kernel[::-1])
    assert not isinstance(chosen(op, (64, 32, 16, 16), w), Winograd)


def test_training_with_and_without_differs_in_rounding_only():
    found = []
    for options in ({}, {"fuse": False}, {"winograd": False}):
        rng = np.random.default_rng(0)
        arrays = [rng.standard_normal((64, 16, 8, 8)).astype("float32"), np.arange(64) % 10]
        with mocha.System(NativeBackend(threads=2, **options), seed=2) as system:
            body = [layers.MemoryDataLayer(name="data", batch_size=32, data=constant(arrays), tops=["d", "label"])]
            for bottom, top in itertools.pairwise("dab"):
                kernel = {"n_filter": 16, "kernel": (3, 3), "pad": (1, 1), "neuron": neurons.ReLU()}
                body.append(layers.ConvolutionLayer(name=f"to {top}", bottoms=[bottom], tops=[top], **kernel))
            body.append(layers.InnerProductLayer(name="y", output_dim=10, bottoms=["b"], tops=["y"]))
            body.append(layers.SoftmaxLossLayer(name="loss", bottoms=["y", "label"]))
            net = mocha.Net("net", system, body)
            solver = solvers.SGD(mocha.SolverParameters(max_iter=4, lr_policy=0.01))
            solver.solve(net)
            labels = {use.kernel for use in net.runs.training_program(solver).kernels() if "Winograd" in use.kernel}
            found.append((net.parameters["to a"]["filter"].numpy(), labels))
    assert {"Winograd + ReLU", "ReLU + Winograd"} & found[0][1]
    assert [labels for _, labels in found[1:]] == [{"Winograd"}, set()]
    for filters, _ in found[1:]:
        np.testing.assert_allclose(filters, found[0][0], rtol=0, atol=1e-5)
