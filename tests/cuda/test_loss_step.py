"""Softmax loss, objective and both their gradients as one step, on the host: the same results, the same refusals."""

import runpy
from pathlib import Path

import numpy as np
import pytest
from against_reference import DTYPES
from host_backend import HostBackend
from mocha_cuda.compiled import CUDAKernel
from mocha_cuda.kernels.loss_step import SoftmaxLossStepKernel
from mocha_layers_std.loss_step import SoftmaxLossStep
from mocha_layers_std.softmax_loss import SoftmaxLoss

import mocha_core as mocha
from mocha_core import hookimpl, layers, neurons, solvers
from mocha_core.compile.kernel import Reference
from mocha_core.compile.selection import Selector
from mocha_core.errors import BackendError, DataError, NonFiniteError
from mocha_core.graph.plan import Call, Phase, Plan
from mocha_core.graph.structural import CheckFinite, Objective
from mocha_core.graph.value import Value
from mocha_core.plugin.manager import registries
from mocha_core.testing.inputs import constant
from mocha_core.testing.tolerances import TOLERANCES, assert_close

REAL_NETS = runpy.run_path(str(Path(__file__).parents[1] / "native" / "real_nets.py"))
#: What the one step is in place of, in a program's order.
APART = [("loss", "softmax_loss", "forward"), ("(net)", "mocha.objective", "forward"),
         ("(net)", "mocha.objective", "backward"), ("loss", "softmax_loss", "backward")]  # fmt: skip
ONE = [("loss", "softmax_loss_step", "forward")]
#: One class, some lanes without a class, more classes than a warp, positions side by side, and sums of many blocks.
SHAPES = [(1, 1), (64, 10), (5, 33), (3, 257), (9, 3, 7), (2, 5, 4, 4), (300, 10), (1100, 2), (43, 3, 8, 8)]


def cells(valid, status=0):
    return [np.asarray(valid, np.int32), np.asarray(status, np.int32)]


def step_of(weight, inputs, check=None):
    """The step that is in place of a softmax loss of these inputs, the objective, and their gradients; its kernel."""
    plan = Plan(Phase.TRAIN, batch=1)
    values = [Value(f"x{i}", a.shape, str(a.dtype)) for i, a in enumerate(inputs)]
    (loss,) = plan.call(SoftmaxLoss(5, inputs[0].shape[1]), *values)
    plan.call(Objective((weight,)), loss)
    if check:
        plan.call(CheckFinite(check), plan.steps[-1].call.outs[0], values[3])
    op = SoftmaxLossStep(*(step.call for step in plan.steps))
    seed = Value("seed", (), str(inputs[0].dtype))
    outs = [Value(f"y{i}", *spec) for i, spec in enumerate(op.infer(*(v.spec for v in values), seed.spec))]
    call = Call(op, (*values, seed), (*outs, values[3]), "loss")
    return call, Selector(HostBackend(), registries()).choose(call)


def one_step(weight, seed, *inputs, check=None):
    """Objective, gradient and status. What they are written to holds NaN before; inputs stay as they are."""
    call, kernel = step_of(weight, inputs, check)
    assert isinstance(kernel, SoftmaxLossStepKernel)
    held = [np.array(a) for a in (*inputs, np.asarray(seed, inputs[0].dtype))]
    outs = [np.full(v.shape, np.nan, v.dtype) for v in call.outs[:2]]
    workspace = [np.full(spec.shape, np.nan, spec.dtype) for spec in kernel.forward_workspace]
    run = kernel.forward(held, [*outs, held[3], *workspace], [False] * 3)
    run()
    first = [np.array(a) for a in outs]
    run()
    for a, b in zip(first, outs, strict=True):
        assert a.tobytes() == b.tobytes()
    for given, there in zip((*inputs[:3], seed), (*held[:3], held[4]), strict=True):
        np.testing.assert_array_equal(given, there)
    return [*outs, held[3]]


def apart(weight, seed, *inputs):
    """The same by the references, in float64."""
    x, labels, valid, status = inputs
    op, x = SoftmaxLoss(5, x.shape[1]), x.astype(np.float64)
    loss, probability, status = op.forward(np, x, labels, valid, status)
    y = (loss, probability, status)
    gradient = op.backward(np, (np.float64(seed * weight), None), (x, labels, valid, status), y, (True,))[0]
    return [loss * weight, gradient, status]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("part", [False, True])
def test_objective_and_gradient(dtype, shape, part, rng):
    labels = rng.integers(0, shape[1], (shape[0], *shape[2:])).astype(np.int32)
    valid = (shape[0] + 1) // 2 if part else shape[0]
    x = rng.standard_normal(shape).astype(dtype)
    expected = apart(0.75, 2.0, x, labels, *cells(valid))
    x[valid:], labels[valid:] = np.nan, -1
    found = one_step(0.75, 2.0, x, labels, *cells(valid))
    for name, a, b in zip(("objective", "gradient"), found, expected, strict=False):
        assert_close(name, a, b, TOLERANCES[dtype])
    assert (found[1][valid:] == 0).all()
    assert found[2] == 0


@pytest.mark.parametrize("label", [-1, 3, 2**31 - 1, -(2**31)])
@pytest.mark.parametrize(("rows", "at"), [(4, 2), (1000, 990)])
def test_labels_out_of_range_are_reported_and_read_nothing(label, rows, at):
    labels, x = np.zeros(rows, np.int32), np.full((rows, 3), 1 / 3)
    labels[at] = label
    for valid, before, after in ((rows, 0, 5), (at, 0, 0), (rows, 2, 2)):
        given = 1.0, 1.0, x, labels, *cells(valid, before)
        found = one_step(*given)
        assert found[2] == after
        for name, a, b in zip(("objective", "gradient"), found, apart(*given), strict=False):
            assert_close(name, a, b, TOLERANCES["float64"])


def test_without_rows_that_count_there_is_nothing():
    objective, gradient, status = one_step(1.0, 1.0, np.ones((4, 3)), np.zeros(4, np.int32), *cells(0))
    assert objective == 0
    assert (gradient == 0).all()
    assert status == 0


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", [4, 3000])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_an_objective_that_is_not_finite_is_reported_if_that_is_asked(rows, bad, dtype):
    x, labels = np.full((rows, 3), 0.5, dtype), np.zeros(rows, np.int32)
    assert one_step(1.0, 1.0, x, labels, *cells(rows), check=7)[2] == 0
    x[rows - 1, 1] = bad
    assert one_step(1.0, 1.0, x, labels, *cells(rows - 1), check=7)[2] == 0
    for check, before, after in ((7, 0, 7), (7, 2, 2), (None, 0, 0)):
        objective, _, status = one_step(1.0, 1.0, x, labels, *cells(rows, before), check=check)
        assert np.isnan(objective)
        assert status == after
    labels[0] = 3  # the first fault wins, and labels come first
    assert one_step(1.0, 1.0, x, labels, *cells(rows), check=7)[2] == 5


@pytest.mark.parametrize("replaced", ["softmax_loss", "mocha.objective", "mocha.check_finite"])
def test_a_kernel_of_somebody_else_is_not_left_out(register_plugin, replaced):
    class Other:
        @hookimpl
        def mocha_register_kernels(self, kernels):
            kernels.add(replaced, HostBackend.name, Reference)

    register_plugin(Other(), "other")
    inputs = [np.ones((4, 3)), np.zeros(4, np.int32), *cells(4)]
    with pytest.raises(BackendError, match=r"mocha-cuda's for 'cuda' declined"):
        step_of(1.0, inputs, check=7)


def perceptron(loss=None):
    return [
        layers.InnerProductLayer(name="h", output_dim=9, neuron=neurons.ReLU(), bottoms=["data"], tops=["h"]),
        layers.InnerProductLayer(name="y", output_dim=5, bottoms=["h"], tops=["y"]),
        loss or layers.SoftmaxLossLayer(name="loss", bottoms=["y", "label"]),
    ]


def of_pixels():
    return [
        layers.ConvolutionLayer(name="y", n_filter=5, kernel=(3, 3), pad=(1, 1), bottoms=["data"], tops=["y"]),
        layers.SoftmaxLossLayer(name="loss", bottoms=["y", "label"]),
    ]


def arrays(positions=()):
    rng = np.random.default_rng(1)
    return [rng.standard_normal((40, 2, 5, 7)), rng.integers(0, 5, (40, *positions))]


def loss_steps(program):
    """Layer, op and half of the steps that make losses, objective and their gradients."""
    ops = {op for _, op, _ in (*APART, *ONE)}
    return [use[:3] for use in program.kernels() if use.op in ops]


def trained(body, given=None, dtype="float32", fuse=True, **more):
    """The steps of the loss; objectives and parameters after training."""
    with mocha.System(HostBackend(fuse=fuse), seed=2, dtype=dtype) as system:
        source = layers.MemoryDataLayer(
            name="data", batch_size=16, data=constant(given or arrays()), tops=["data", "label"]
        )
        net = mocha.Net("net", system, [source, *body])
        solver = solvers.SGD(mocha.SolverParameters(lr_policy=0.05, momentum=0.9, **{"max_iter": 20, **more}))
        solver.solve(net)
        program = net.runs.training_program(solver)
        assert not [use for use in program.kernels() if use.op == ONE[0][1] and "splits" in use.kernel]
        parameters = [p.numpy() for group in net.parameters.values() for p in group.values()]
        return loss_steps(program), [np.asarray(program.objectives), *parameters]


def check(body, **more):
    found, ours = trained(body, **more)
    others, theirs = trained(body, fuse=False, **more)
    assert (found, others) == (ONE, APART[: len(others)])
    for a, b in zip(ours, theirs, strict=True):
        assert_close("result", a, b, 1e-12 if more.get("dtype") == "float64" else 2e-5)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("accumulate", [1, 3])
def test_one_step_trains_as_four(dtype, accumulate):
    check(perceptron(), dtype=dtype, accumulate=accumulate)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_prediction_for_each_pixel(dtype):
    check(of_pixels(), given=arrays((1, 5, 7)), dtype=dtype)


@pytest.mark.parametrize("weight", [0.3, -2])
def test_the_weight_counts(weight):
    check(perceptron(layers.SoftmaxLossLayer(name="loss", weight=weight, bottoms=["y", "label"])), max_iter=8)


def test_two_losses_stay_apart():
    second = layers.SoftmaxLossLayer(name="second", weight=0.5, bottoms=["h", "label"])
    found, _ = trained([*perceptron(), second], max_iter=2)
    assert not set(ONE) & set(found)


def test_a_graph_of_lenet_has_three_nodes_less(monkeypatch):
    counts = []
    for fuse in (True, False):
        backend, launched = HostBackend(fuse=fuse), []
        monkeypatch.setattr(backend.device, "launch", lambda kernel, *_, to=launched: to.append(kernel.name))
        monkeypatch.setattr(backend.device, "submit", lambda work: None)
        with mocha.System(backend, seed=2) as system:
            net, solver_for = REAL_NETS["open_net"](system, "lenet", 64)
            for bound in net.runs.training_program(solver_for(1)).bound:
                if isinstance(bound.kernel, CUDAKernel):
                    bound.run()
        counts.append([name for name in launched if "softmax" in name or "objective" in name])
    alone = ["softmax_loss_forward", "objective_forward", "objective_backward", "softmax_loss_backward"]
    assert counts == [["softmax_loss_step"], alone]


@pytest.mark.parametrize("accumulate", [1, 3])
def test_a_wrong_label_ends_the_run_with_the_same_error(accumulate):
    given, left = arrays(), []
    given[1][37] = 11
    for fuse in (True, False):
        with mocha.System(HostBackend(fuse=fuse), seed=2) as system:
            source = layers.MemoryDataLayer(name="data", batch_size=8, data=constant(given), tops=["data", "label"])
            net = mocha.Net("net", system, [source, *perceptron()])
            solver = solvers.SGD(mocha.SolverParameters(max_iter=60, lr_policy=0.05, accumulate=accumulate))
            with pytest.raises(DataError, match=r"Layer 'loss'.*label 11 in row 5") as caught:
                solver.solve(net)
            assert loss_steps(net.runs.training_program(solver)) == (ONE if fuse else APART)
            assert solver.state.iteration == 4 // accumulate
            assert not net.runs.half_updated
            parameters = [p.numpy() for group in net.parameters.values() for p in group.values()]
            left.append((str(caught.value), parameters))
    assert left[0][0] == left[1][0]
    for a, b in zip(left[0][1], left[1][1], strict=True):
        assert_close("parameter", a, b, 2e-5)


@pytest.mark.parametrize("accumulate", [1, 3])
def test_the_check_of_the_objective_is_in_it_and_fails_as_alone(accumulate):
    said = []
    for fuse in (True, False):
        with mocha.System(HostBackend(fuse=fuse), seed=2) as system:
            given = arrays()
            given[0][37] = np.nan
            source = layers.MemoryDataLayer(name="data", batch_size=8, data=constant(given), tops=["data", "label"])
            net = mocha.Net("net", system, [source, *perceptron()])
            solver = solvers.SGD(mocha.SolverParameters(max_iter=60, lr_policy=0.05, accumulate=accumulate))
            with pytest.raises(NonFiniteError, match=r"the objective is not finite.*row 37") as caught:
                solver.solve(net)
            said.append(str(caught.value))
            program = net.runs.training_program(solver)
            assert loss_steps(program) == (ONE if fuse else APART)
            assert fuse != ("mocha.check_finite" in {use.op for use in program.kernels()})
            assert solver.state.iteration == 4 // accumulate
    assert said[0] == said[1]


def test_a_check_by_somebody_elses_kernel_stays_apart(register_plugin):
    class Other:
        @hookimpl
        def mocha_register_kernels(self, kernels):
            kernels.add("mocha.check_finite", HostBackend.name, Reference)

    register_plugin(Other(), "other")
    with mocha.System(HostBackend(), seed=2) as system:
        source = layers.MemoryDataLayer(name="data", batch_size=8, data=constant(arrays()), tops=["data", "label"])
        net = mocha.Net("net", system, [source, *perceptron()])
        program = net.runs.training_program(solvers.SGD(mocha.SolverParameters(max_iter=1, lr_policy=0.05)))
        assert loss_steps(program) == ONE
        assert [use.plugin for use in program.kernels() if use.op == "mocha.check_finite"] == ["other"]
