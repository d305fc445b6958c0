"""What a fault leaves behind that the host hears of only after many minibatches: what the CPU leaves."""

from contextlib import nullcontext

import numpy as np
import pytest
from host_backend import HostBackend

import mocha_core as mocha
from mocha_core import initializers, layers, solvers
from mocha_core.describe.layer import Layer
from mocha_core.describe.source import Source
from mocha_core.errors import DataError, MochaError, StateError
from mocha_core.graph.op import Op
from mocha_core.graph.value import Spec
from mocha_core.testing.inputs import constant


class Centre(Op):
    """x less the running mean, which changes with each minibatch."""

    name = "test.centre"
    updates = (1,)
    backward_reads = ()

    def infer(self, x, mean):
        return (x,)

    def forward(self, xp, x, mean):
        return x - mean, mean * 0.9 + 0.1 * xp.mean(x, axis=0)

    def backward(self, xp, dy, x, y, wanted):
        return dy[0], None


class CentreLayer(Layer):
    def build(self, b, x):
        return b.call(Centre(), x, b.state("mean", x.shape[1:], initializers.ConstantInitializer(0.0)))


ROWS, BATCH, BAD = 80, 8, 26


def arrays():
    rng = np.random.default_rng(0)
    return rng.standard_normal((ROWS, 6)), rng.integers(0, 5, ROWS).astype(float)


def opened(system, source, solver):
    """The net and its program, which is given many minibatches at a time if it is one of CUDA."""
    body = [
        source,
        CentreLayer(name="centre", bottoms=["data"], tops=["centred"]),
        layers.InnerProductLayer(name="y", output_dim=5, bottoms=["centred"], tops=["y"]),
        layers.SoftmaxLossLayer(name="loss", bottoms=["y", "label"]),
        layers.AccuracyLayer(name="accuracy", bottoms=["y", "label"]),
    ]
    net = mocha.Net("net", system, body)
    net.runs.training_program(solver)._chunk = 64
    return net


@pytest.mark.parametrize("what", ["label", "nan"])
def test_a_faulty_minibatch_changes_neither_states_nor_statistics(what):
    """As on the CPU, and as after the three minibatches before it."""
    data, labels = arrays()
    data[24:32] += 100
    if what == "label":
        labels[BAD] = 9
    else:
        data[BAD] = np.nan
    left = []
    for backend, iterations in (("cpu", 3), ("cpu", 90), (HostBackend(), 90)):
        with mocha.System(backend, seed=2) as system:
            source = layers.MemoryDataLayer(
                name="d", batch_size=BATCH, data=constant([data, labels]), tops=["data", "label"]
            )
            solver = solvers.SGD(mocha.SolverParameters(lr_policy=0.05, max_iter=iterations))
            net = opened(system, source, solver)
            with nullcontext() if iterations == 3 else pytest.raises(MochaError):
                solver.solve(net)
            states = [system.read(state.value) for state in net.states.values()]
            totals = [system.read(statistic.total) for statistic in net.plan.statistics]
            left.append((solver.state.iteration, states, totals))
    (iterations, expected_states, expected_totals), *others = left
    for found_iterations, states, totals in others:
        assert found_iterations == iterations == 3
        assert len(totals) == len(expected_totals) == 1
        np.testing.assert_array_equal(totals[0], expected_totals[0])
        for state, expected in zip(states, expected_states, strict=True):
            np.testing.assert_allclose(state, expected, rtol=1e-5)


class Unreliable(Source):
    """A row that is `bad`, and an error two minibatches later, once."""

    prefetch = False
    specs = (Spec((6,), "float64"), Spec((), "float64"))
    rows, fetched, spoilt, bad = ROWS, 0, True, np.nan

    def fetch(self, rows, epoch, out):
        self.fetched += 1
        if self.spoilt and self.fetched == 6:
            raise OSError("the disk is gone")
        for array, given in zip(out, arrays(), strict=True):
            array[...] = given[rows]
        if self.spoilt and BAD in rows:
            out[0][list(rows).index(BAD)] = self.bad


def unreliable(source):
    """A data layer, and a system where its minibatches are fetched."""

    class UnreliableLayer(layers.MemoryDataLayer):
        def open(self, *_, **__):
            return source

    backend = HostBackend()
    backend.resident_bytes = 0
    return (
        mocha.System(backend, seed=2),
        UnreliableLayer(name="d", batch_size=BATCH, data=[*arrays()], tops=["data", "label"]),
    )


def test_a_fault_that_nobody_heard_of_is_forgotten():
    """An exception came first."""
    source = Unreliable()
    system, layer = unreliable(source)
    with system:
        solver = solvers.SGD(mocha.SolverParameters(lr_policy=0.05, max_iter=9))
        net = opened(system, layer, solver)
        with pytest.raises(DataError, match="the disk is gone"):
            solver.solve(net)
        assert solver.state.iteration == 3
        source.spoilt = False
        assert np.isfinite(net.forward_epoch())
        assert net.statistics()["accuracy-accuracy"] > 0
        solver.solve(net)
        assert solver.state.iteration == 9


def test_an_update_that_failed_is_remembered_where_an_exception_came_first():
    """It may have written some of the parameters."""
    source = Unreliable()
    source.bad = 0.0
    policy = solvers.LRPolicy.Staged((3, 0.05), (6, 1e38))
    system, layer = unreliable(source)
    with system:
        solver = solvers.SGD(mocha.SolverParameters(lr_policy=policy, regu_coef=100.0, max_iter=9))
        net = opened(system, layer, solver)
        with pytest.raises(DataError, match="the disk is gone"):
            solver.solve(net)
        assert solver.state.iteration == 3
        with pytest.raises(StateError, match="Load a snapshot"):
            solver.solve(net)


def test_a_minibatch_that_failed_leaves_a_net_whole_wherever_it_is_interrupted(monkeypatch):
    """Nothing was updated by it, nor by what repeats it."""
    monkeypatch.setenv("MOCHA_CUDA_GRAPHS", "0")
    data, labels = arrays()
    labels[BAD] = 9
    for step in range(4):
        with mocha.System(HostBackend(), seed=2) as system:
            source = layers.MemoryDataLayer(
                name="d", batch_size=BATCH, data=constant([data, labels]), tops=["data", "label"]
            )
            solver = solvers.SGD(mocha.SolverParameters(lr_policy=0.05, max_iter=9))
            net = opened(system, source, solver)
            tape = net.runs.training_program(solver)._tape
            go, times = tape._go, []

            def interrupted(pieces, go=go, times=times, step=step):
                times.append(len(times))
                if len(times) == 6:
                    pieces = [*pieces[: len(pieces) - step], (pieces[len(pieces) - step - 1][0], interrupt)]
                go(pieces)

            tape._go = interrupted
            with pytest.raises(KeyboardInterrupt):
                solver.solve(net)
            assert solver.state.iteration == 3
            assert not net.runs.half_updated


def interrupt():
    raise KeyboardInterrupt
