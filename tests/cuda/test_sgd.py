"""SGD: one parameter, and many in one launch."""

import numpy as np
import pytest
from against_reference import DTYPES, bench, check, forward
from host_backend import HostBackend
from mocha_cuda.update import TILE, Update, merged
from mocha_layers_std.regularizers import L1Regu, L2Regu, NoRegu
from mocha_solvers_std.sgd import SGDUpdate

import mocha_core as mocha
from mocha_core import layers, regularizers, solvers
from mocha_core.compile.kernel import BoundStep
from mocha_core.compile.selection import Selector
from mocha_core.describe.parameter import Constraint
from mocha_core.graph.plan import Section, forward_step
from mocha_core.plugin.manager import registries
from mocha_core.testing import OpCase
from mocha_core.testing.inputs import constant


def cells(status=0):
    return [np.asarray(0.05), np.asarray(0.9), np.asarray(status, np.int32)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [1, 5, TILE - 1, TILE, TILE + 1, 5 * TILE + 3])
@pytest.mark.parametrize("regularizer", [None, NoRegu(), L1Regu(2.0), L2Regu(0.5)], ids=str)
def test_sgd(dtype, size, regularizer, rng):
    op = SGDUpdate(multiplier=2.0, regu_coef=0.1, regularizer=regularizer, fault=3)
    w, g, velocity = rng.standard_normal((3, size))
    w[0] = 0
    check(op, [w, g, velocity, *cells()], dtype)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("regularizer", [None, L1Regu(2.0)], ids=str)
def test_nothing_that_is_not_finite_is_written(bad, regularizer):
    w, g, velocity = np.ones(5000), np.zeros(5000), np.zeros(5000)
    g[1500] = bad
    *written, status = forward(SGDUpdate(1.0, 0.1, regularizer, fault=3), [w, g, velocity, *cells()])
    assert status == 3
    assert np.isfinite(written).all()
    unchecked = forward(SGDUpdate(1.0, 0.1, regularizer, fault=0), [w, g, velocity, *cells()])
    assert unchecked[-1] == 0
    assert not np.isfinite(unchecked[0]).all()


def test_an_invalid_minibatch_updates_nothing():
    w, velocity, status = forward(SGDUpdate(fault=3), [*np.ones((3, 3000)), *cells(7)])
    assert (w == 1).all()
    assert (velocity == 1).all()
    assert status == 7


class Other(Constraint):
    def project(self, xp, w):
        return w


class Steeper(L2Regu):
    def gradient(self, xp, w):
        return 3 * w


@pytest.mark.parametrize("op", [SGDUpdate(constraint=Other()), SGDUpdate(1.0, 1.0, Steeper(1.0))], ids=str)
def test_updates_with_constraints_and_regularizers_of_others_are_traced(op):
    kernel = Selector(HostBackend(), registries()).choose(OpCase(op, [*np.ones((3, 4)), *cells()]).call("float64"))
    assert kernel.label == "traced sgd"


@pytest.mark.parametrize("dtype", DTYPES)
def test_one_launch_of_many_is_what_many_are(dtype):
    sizes = [1, TILE, 0, 3 * TILE + 7, 10, 0, TILE + 1]
    backend = HostBackend()

    def parameters():
        made = np.random.default_rng(1)
        return [
            (*(made.standard_normal(size).astype(dtype) for _ in range(3)), 1.0 + i, 0.1 * i, 0.01 * i, size, 10 + i)
            for i, size in enumerate(sizes)
        ]

    shared = (np.asarray(0.05, dtype), np.asarray(0.9, dtype), np.asarray(0, np.int32))
    apart, together = parameters(), parameters()
    for parameter in apart:
        Update(backend, "sgd", "sgd_forward", dtype, [parameter], shared)()
    Update(backend, "sgd", "sgd_forward", dtype, together, shared)()
    assert shared[-1] == 0
    for one, other in zip(apart, together, strict=True):
        for a, b in zip(one[:3], other[:3], strict=True):
            assert a.tobytes() == b.tobytes()


def test_the_fault_of_the_parameter_is_reported():
    shared = (np.asarray(0.05), np.asarray(0.9), np.asarray(0, np.int32))
    parameters = [(*np.ones((3, 2000)), 1.0, 0.0, 0.0, 2000, 10 + i) for i in range(4)]
    parameters[2][1][1999] = np.nan
    Update(HostBackend(), "sgd", "sgd_forward", "float64", parameters, shared)()
    assert shared[-1] == 12
    assert all(np.isfinite(parameter[0]).all() for parameter in parameters)


def trained(backend, one_launch, monkeypatch):
    """Parameters after five iterations, and how many launches an iteration's updates are."""
    if not one_launch:
        monkeypatch.setattr("mocha_cuda.backend.merged", list)
    rng = np.random.default_rng(4)
    data = [rng.standard_normal((12, 6)), rng.standard_normal((12, 3))]
    options = {"weight_regu": regularizers.L2Regu(1.0)}
    with mocha.System(backend, seed=3) as system:
        net = mocha.Net("net", system, [
            layers.MemoryDataLayer(name="data", data=constant(data), batch_size=4, tops=["x", "t"]),
            layers.InnerProductLayer(name="h", output_dim=5, bottoms=["x"], tops=["h"], **options),
            layers.InnerProductLayer(name="y", output_dim=3, bottoms=["h"], tops=["y"], **options),
            layers.SquareLossLayer(name="loss", bottoms=["y", "t"]),
        ])  # fmt: skip
        solver = solvers.SGD(mocha.SolverParameters(max_iter=5, lr_policy=0.05, momentum=0.9, regu_coef=0.01))
        solver.solve(net)
        program = net.runs.training_program(solver)
        uses = [use for use in program.kernels() if use.op == "sgd"]
        launches = sum(isinstance(bound.run, Update) for bound in program.bound)
        return [p.numpy() for group in net.parameters.values() for p in group.values()], uses, launches


def test_a_program_updates_all_parameters_in_one_launch(monkeypatch):
    found, uses, launches = trained(HostBackend(), True, monkeypatch)
    apart, uses_apart, launches_apart = trained(HostBackend(), False, monkeypatch)
    assert (launches, launches_apart) == (1, 4)
    assert uses == uses_apart
    assert [use.kernel for use in uses] == ["SGD"] * 4
    for one, other in zip(found, apart, strict=True):
        assert one.tobytes() == other.tobytes()


def test_updates_by_other_cells_stay_apart():
    case = OpCase(SGDUpdate(), [*np.ones((3, 4)), *cells()])
    made = bench(case, "float64")
    step = forward_step(made.call, Section.UPDATE)

    def bound(rate):
        return BoundStep(step, made.kernel, made.kernel.forward([*made.x[:3], rate, *made.x[4:]], [], []))

    first, second, other = np.asarray(0.1), np.asarray(0.2), BoundStep(step, made.kernel, print)
    steps = merged([bound(first), bound(first), bound(second), other, bound(second)])
    assert [len(step.run.parameters) if isinstance(step.run, Update) else 0 for step in steps] == [2, 0, 1, 0, 1]
    assert steps[3] is other
