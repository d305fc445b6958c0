"""States are updates: kept with the others where a minibatch is not refused."""

from dataclasses import replace

import numpy as np
import pytest
from toys.accuracy import AccuracyLayer
from toys.backends import BACKENDS
from toys.carry import CountLayer, RecurrentLayer
from toys.inner_product import InnerProductLayer
from toys.memory import MemoryLayer
from toys.normal import Constant
from toys.observe import parameters
from toys.plain import Plain
from toys.sgd import SGD
from toys.softmax_loss import SoftmaxLossLayer
from toys.spoils import SpoilsLayer
from toys.standardize import StandardizeLayer

import mocha_core as mocha
from mocha_core.describe.layer import ComputationLayer
from mocha_core.errors import DataError, FileError, NonFiniteError, StateError
from mocha_core.graph.op import Op
from mocha_core.graph.plan import Phase
from mocha_core.train.snapshot import capture, restore

BATCH, ROWS, FEATURES, UNITS, BAD = 4, 24, 3, 2, 17


def arrays(rows=ROWS):
    random = np.random.default_rng(4)
    return random.standard_normal((rows, FEATURES)), random.integers(0, UNITS, rows).astype(float)


def all_kinds(given, batch=BATCH, loss=True):
    """A running mean, rows that are carried, a counter, parameters, and a statistic."""
    return [
        MemoryLayer(name="data", batch_size=batch, arrays=given, tops=("x", "label")),
        StandardizeLayer(name="norm", bottoms=["x"], tops=["n"]),
        RecurrentLayer(name="memory", units=5, bottoms=["n"], tops=["h"]),
        CountLayer(name="counter", bottoms=["h"], tops=["c"]),
        InnerProductLayer(name="y", output_dim=UNITS, bottoms=["h"], tops=["y"]),
        *([SoftmaxLossLayer(name="loss", bottoms=["y", "label"])] if loss else []),
        AccuracyLayer(name="accuracy", bottoms=["y", "label"]),
    ]


def seen(net, solver):
    """Whatever outlives a minibatch."""
    found = {key: state.numpy() for key, state in net.states.items()}
    found |= {key: net.system.read(value) for key, value in solver.memories(net).items()}
    found |= {s.key: net.system.read(s.total) for s in net.plan.statistics}
    state = {"iteration": solver.state.iteration, "objective": solver.state.objective, **solver.state.cells}
    state |= {name: feed.cursor for name, feed in net.feeds.items()}
    return found | {name: np.asarray(value) for name, value in state.items()}


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for key, array in expected.items():
        assert found[key].tobytes() == array.tobytes(), key
        assert found[key].dtype == array.dtype, key


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("fault", ["label", "nan", "source"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_refused_minibatch_changes_nothing(backend, fault, accumulate):
    """Parameters, states of each kind, slots, statistics, iteration and cursors; the next run goes on from there."""
    x, labels = arrays()
    good = 4 // accumulate
    with mocha.System(BACKENDS[backend](), dtype="float64", seed=2) as system:
        net = mocha.Net("net", system, all_kinds((x, labels)))
        solver = SGD(parameters(max_iter=good, accumulate=accumulate))
        solver.solve(net)
        expected = seen(net, solver)
        solver.parameters = replace(solver.parameters, max_iter=good + 1)
        solver.solve(net)
        later = seen(net, solver)
    assert expected["counter___count"] == 4
    bad, bad_labels = x.copy(), labels.copy()
    if fault == "label":
        bad_labels[BAD] = UNITS
    elif fault == "nan":
        bad[BAD] = np.nan
    given = (bad, bad_labels)
    layers = all_kinds(given)
    if fault == "source":
        layers[0] = replace(layers[0], broken_row=BAD)
    with mocha.System(BACKENDS[backend](), dtype="float64", seed=2) as system:
        if fault == "source":
            system.backend.resident_bytes = 0
        net = mocha.Net("net", system, layers)
        solver = SGD(parameters(max_iter=9, accumulate=accumulate))
        with pytest.raises({"label": DataError, "nan": NonFiniteError, "source": FileError}[fault]):
            solver.solve(net)
        assert_same(seen(net, solver), expected)
        again = mocha.Net("again", system, [replace(layers[0], broken_row=-1, arrays=(x, labels)), *layers[1:]])
        for key, state in net.states.items():
            again.states[key].set(state.numpy())
        again.feeds["data"].seek(4 * BATCH)
        solver.parameters = replace(solver.parameters, max_iter=good + 1)
        solver.solve(again)
        found = {key: state.numpy() for key, state in again.states.items()}
        assert_same(found, {key: later[key] for key in found})


def test_a_refused_forward_changes_nothing():
    x, labels = arrays()
    labels[1] = UNITS
    with mocha.System(Plain(), dtype="float64", seed=2) as system:
        net = mocha.Net("net", system, all_kinds((x, labels)))
        solver = SGD(parameters())
        before = seen(net, solver)
        for _ in range(2):
            with pytest.raises(DataError, match="expected labels 0 to 1, received 2"):
                net.forward()
            assert_same(seen(net, solver), before)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_refused_minibatch_of_a_validation_is_not_counted(backend):
    """The statistics are those of the minibatches before it."""
    x, labels = arrays()
    labels[BAD] = UNITS
    with mocha.System(BACKENDS[backend](), dtype="float64", seed=2) as system:
        net = mocha.Net("net", system, all_kinds((x, labels)))
        with pytest.raises(DataError, match="expected labels 0 to 1, received 2"):
            net.forward_epoch()
        (found,) = (system.read(statistic.total) for statistic in net.plan.statistics)
        assert net.feeds["data"].cursor == 0
        shared = net.layers[1:]
        data = MemoryLayer(name="data", batch_size=BATCH, arrays=(x[:16], labels[:16]), tops=("x", "label"))
        other = mocha.Net("other", system, [data, *shared])
        other.forward_epoch()
        (expected,) = (system.read(statistic.total) for statistic in other.plan.statistics)
        np.testing.assert_array_equal(found, expected)
        assert found[1] == 16


def test_no_gradient_is_left_of_a_refused_minibatch():
    x, labels = arrays()
    x[BAD] = np.nan
    with mocha.System(Plain(), dtype="float64", seed=2) as system:
        net = mocha.Net("net", system, all_kinds((x, labels)))
        solver = SGD(parameters(max_iter=4))
        solver.solve(net)
        assert np.isfinite(net.gradient("y", "weight")).all()
        solver.parameters = replace(solver.parameters, max_iter=9)
        with pytest.raises(NonFiniteError):
            solver.solve(net)
        with pytest.raises(StateError, match="no gradient of 'y___weight' was computed"):
            net.gradient("y", "weight")


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("number", [1e30, np.nan])
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_minibatch_that_spoils_a_state_alone_is_refused(backend, number, accumulate):
    """The variance of a row of 1e30 is infinite in float32, and the row divided by its root is 0, which is finite."""
    x, labels = arrays()
    good = 4 // accumulate
    contents = []
    for spoilt in (False, True):
        given = x.copy()
        given[BAD] = number if spoilt else given[BAD]
        data = MemoryLayer(name="data", batch_size=BATCH, arrays=(given, labels, x), tops=("x", "label", "clean"))
        layers = [
            data,
            StandardizeLayer(name="norm", bottoms=["x"], tops=["n"]),
            InnerProductLayer(name="y", output_dim=UNITS, bottoms=["n" if number == 1e30 else "clean"], tops=["y"]),
            SoftmaxLossLayer(name="loss", bottoms=["y", "label"]),
        ]
        with mocha.System(BACKENDS[backend](), dtype="float32", seed=2) as system:
            net = mocha.Net("net", system, layers)
            solver = SGD(parameters(max_iter=good, accumulate=accumulate))
            if spoilt:
                solver.parameters = replace(solver.parameters, max_iter=good + 1)
                cause = (
                    "Layer 'norm' made state 'variance'" if number == 1e30 else "blob 'x', row 17 of its source, holds"
                )
                message = rf"the new contents of state 'norm.\w+' is not finite in iteration {good}\. .*{cause}"
                with np.errstate(over="ignore"), pytest.raises(NonFiniteError, match=message):
                    solver.solve(net)
            else:
                solver.solve(net)
            contents.append(seen(net, solver))
    assert_same(*contents)


def test_states_keep_numbers_that_are_not_finite_where_nothing_is_checked():
    x, labels = arrays()
    x[BAD] = np.nan
    with mocha.System(Plain(), dtype="float64", seed=2) as system:
        net = mocha.Net("net", system, all_kinds((x, labels)))
        solver = SGD(parameters(max_iter=6, check_finite=False))
        with pytest.raises(NonFiniteError):
            solver.solve(net)
        assert np.isnan(net.states["norm___mean"].numpy()).all()
        assert net.states["counter___count"].numpy() == 6


def test_the_step_that_spoilt_a_state_is_named_and_not_the_state():
    """The counter's top depends on what it updates, which is not finite after the minibatch that was refused."""
    data = [MemoryLayer(name="data", batch_size=BATCH, arrays=arrays(), tops=("x", "label"))]
    layers = [
        InnerProductLayer(name="first", output_dim=3, bottoms=["x"], tops=["f"]),
        SpoilsLayer(name="spoils", at=2, bottoms=["f"], tops=["s"]),
        StandardizeLayer(name="norm", bottoms=["s"], tops=["n"]),
        RecurrentLayer(name="memory", bottoms=["n"], tops=["y"]),
        SoftmaxLossLayer(name="loss", bottoms=["y", "label"]),
    ]
    with mocha.System(Plain(), dtype="float64", seed=2) as system:
        net = mocha.Net("net", system, [*data, *layers])
        with pytest.raises(NonFiniteError, match="Layer 'spoils' made blob 's' not finite in forward"):
            SGD(parameters(max_iter=6)).solve(net)
        net.states["memory___carried"].set(np.full((BATCH, UNITS), np.nan))
        with pytest.raises(NonFiniteError, match=r"Layer 'memory': state 'carried' is not finite\. Load a snapshot"):
            SGD(parameters(max_iter=1)).solve(net)


def test_a_state_is_kept_in_the_training_phase_only():
    """In the test phase each minibatch finds it as training left it."""
    data = MemoryLayer(name="data", batch_size=2, arrays=(np.ones((6, 1)),), tops=("x",))
    with mocha.System(Plain(), dtype="float64") as system:
        net = mocha.Net("net", system, [data, CountLayer(name="counter", bottoms=["x"], tops=["y"])])
        for _ in range(3):
            net.forward()
        assert (net.states["counter___count"].numpy(), net.blobs["y"].numpy()[0]) == (3, 3)
        net.forward_epoch()
        for _ in range(2):
            net.forward(Phase.TEST)
            assert net.blobs["y"].numpy()[0] == 4
        np.testing.assert_array_equal(net.predict(np.ones((5, 1)), "y"), np.full((5, 1), 4))
        assert net.states["counter___count"].numpy() == 3


def test_a_state_that_two_layers_update():
    """What one writes, the other reads; of one object in two nets, too."""

    class TwiceLayer(ComputationLayer):
        def build(self, b, x):
            counter = CountLayer(name=self.name, bottoms=["x"], tops=["y"])
            (once,) = counter.build(b, x)
            return counter.build(b, once)

    data = MemoryLayer(name="data", batch_size=2, arrays=(np.ones((6, 1)),), tops=("x",))
    twice = TwiceLayer(name="twice", bottoms=["x"], tops=["y"])
    with mocha.System(Plain(), dtype="float64") as system:
        nets = [mocha.Net(name, system, [data, twice]) for name in ("one", "two")]
        for net, expected in zip(nets, (1 * 2, 3 * 4), strict=True):
            net.forward()
            np.testing.assert_array_equal(net.blobs["y"].numpy(), np.full((2, 1), expected))
        assert nets[0].states["twice___count"].numpy() == 4


class Note(Op):
    """Keeps the mean of its bottom in a state, and has no output."""

    name = "toy.note"
    updates = (1,)
    differentiable = ()

    def infer(self, x, noted):
        return ()

    def forward(self, xp, x, noted):
        return xp.zeros_like(noted) + xp.mean(x)


class Less(Op):
    """The bottom less the state."""

    name = "toy.less"
    differentiable = ()

    def infer(self, x, noted):
        return (x,)

    def forward(self, xp, x, noted):
        return x - noted


class CentredLayer(ComputationLayer):
    def build(self, b, x):
        noted = b.state("noted", (), Constant(0.0))
        b.call(Note(), x, noted)
        return b.call(Less(), x, noted)


def test_a_prediction_runs_what_updates_a_state_that_it_reads():
    x = np.arange(4.0)[:, None]
    data = MemoryLayer(name="data", batch_size=4, arrays=(x,), tops=("x",))
    with mocha.System(Plain(), dtype="float64") as system:
        net = mocha.Net("net", system, [data, CentredLayer(name="centred", bottoms=["x"], tops=["y"])])
        np.testing.assert_array_equal(net.predict(x, "y"), x - 1.5)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("accumulate", [1, 2])
def test_resuming_is_exact(backend, accumulate):
    x, labels = arrays()
    runs = []
    for stops in ((9,), (4, 9)):
        snapshot = None
        for stop in stops:
            with mocha.System(BACKENDS[backend](), dtype="float32", seed=2) as system:
                net = mocha.Net("net", system, all_kinds((x, labels)))
                solver = SGD(parameters(max_iter=stop, accumulate=accumulate))
                if snapshot is not None:
                    restore(snapshot, solver, net)
                solver.solve(net)
                snapshot = capture(solver, net)
        runs.append(snapshot)
    assert_same(dict(runs[1].parameters), dict(runs[0].parameters))
    assert_same(dict(runs[1].slots), dict(runs[0].slots))
    assert runs[0].parameters["counter___count"] == 9 * accumulate


def test_a_net_without_states_has_no_step_for_them():
    x, labels = arrays()
    layers = [layer for layer in all_kinds((x, labels)) if layer.name in ("data", "y", "loss")]
    with mocha.System(Plain()) as system:
        layers[1] = replace(layers[1], bottoms=["x"])
        net = mocha.Net("net", system, layers)
        SGD(parameters(max_iter=1)).solve(net)
        assert not {use.op for use in net.runs.last_program().kernels()} & {"mocha.copy", "mocha.commit"}
