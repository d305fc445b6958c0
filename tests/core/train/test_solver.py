"""Coffee breaks: when they are taken, in which order, and that solving goes on where it stopped."""

import dataclasses

import numpy as np
import pytest
from toys import nets
from toys.backends import BACKENDS
from toys.inner_product import InnerProductLayer
from toys.observe import assert_equal, contents, parameters, train
from toys.plain import Plain
from toys.sgd import SGD
from toys.softmax_loss import SoftmaxLossLayer
from toys.square_loss import SquareLossLayer

import mocha_core as mocha
from mocha_core import hookimpl
from mocha_core.errors import ConfigurationError, DataError, FileError, StateError
from mocha_core.net.runs import Runs
from mocha_core.train.coffee_break import CoffeeBreak, ScheduledBreak


class Diary(CoffeeBreak):
    """Writes down when it is called, with the state of the solver."""

    def __init__(self, entries=None, name=""):
        self.entries, self.name = [] if entries is None else entries, name

    def init(self, solver, net):
        self.entries.append((self.name, "init"))

    def enjoy(self, solver, net):
        self.entries.append((self.name, solver.state.iteration, net.epoch))

    def destroy(self, solver, net):
        self.entries.append((self.name, "destroy"))

    @property
    def iterations(self):
        return [entry[1] for entry in self.entries if isinstance(entry[1], int)]


def layers(batch=6, n=20, **options):
    x = InnerProductLayer(name="x", output_dim=3, bottoms=["data"], tops=["x"])
    return [nets.data(batch, n, **options), x, SquareLossLayer(bottoms=["x", "target"])]


@pytest.fixture
def net(system):
    return mocha.Net("net", system, layers())


def solve(net, breaks, **options):
    solver = SGD(parameters(**options))
    for coffee, interval in breaks:
        solver.add_coffee_break(coffee, **interval)
    solver.solve(net)
    return solver


@pytest.mark.parametrize(
    ("max_iter", "every", "expected"),
    [(10, 5, [0, 5, 10]), (10, 4, [0, 4, 8, 10]), (3, 100, [0, 3]), (3, 1, [0, 1, 2, 3])],
)
def test_at_zero_at_multiples_and_at_the_end(net, max_iter, every, expected):
    diary = Diary()
    solve(net, [(diary, {"every_n_iter": every})], max_iter=max_iter)
    assert diary.iterations == expected


@pytest.mark.parametrize(
    ("n", "batch", "every", "expected"),
    [(20, 6, 1, [0, 4, 7, 10, 12]), (20, 6, 2, [0, 7, 12]), (6, 6, 1, [0, *range(1, 13)]), (6, 6, 3, [0, 3, 6, 9, 12])],
)
def test_every_epoch(system, n, batch, every, expected):
    """20 rows in batches of 6: the epoch changes after 4, 7 and 10 minibatches."""
    diary = Diary()
    solve(mocha.Net("net", system, layers(batch, n)), [(diary, {"every_n_epoch": every})], max_iter=12)
    assert diary.iterations == expected
    assert [epoch for _, _, epoch in diary.entries[1:-1]] == [i * batch // n for i in expected]


def test_every_epoch_with_accumulated_minibatches(net):
    diary = Diary()
    solve(net, [(diary, {"every_n_epoch": 1})], max_iter=6, accumulate=2)
    assert diary.iterations == [0, 2, 4, 5, 6]
    assert net.feeds["data"].cursor == 6 * 2 * 6


def test_several_breaks_in_the_order_added(net):
    entries = []
    slow, fast = Diary(entries, "slow"), Diary(entries, "fast")
    solve(net, [(slow, {"every_n_iter": 4}), (fast, {"every_n_iter": 2})], max_iter=4)
    calls = [(name, *rest[:1]) for name, *rest in entries]
    assert calls == [("slow", "init"), ("fast", "init"), ("slow", 0), ("fast", 0), ("fast", 2), ("slow", 4),
                     ("fast", 4), ("fast", "destroy"), ("slow", "destroy")]  # fmt: skip


def test_a_break_needs_one_interval():
    solver = SGD(parameters())
    for interval in ({}, {"every_n_iter": 2, "every_n_epoch": 1}):
        with pytest.raises(ConfigurationError, match="Coffee break Diary: expected either every_n_iter or every_n_ep"):
            solver.add_coffee_break(Diary(), **interval)
    with pytest.raises(ConfigurationError, match="every_n_iter to be an integer >= 0, received -1"):
        ScheduledBreak(Diary(), every_n_iter=-1)
    with pytest.raises(ConfigurationError, match=r"SGD: expected coffee to be a CoffeeBreak such as .*received 'tea'"):
        solver.add_coffee_break("tea", every_n_iter=1)
    with pytest.raises(ConfigurationError, match=r"SGD: expected SolverParameters\(max_iter=...\), received 10"):
        SGD(10)


def test_solving_again_continues(system):
    """Twice five iterations are ten; parameters are initialized only once."""
    seen = []
    net = mocha.Net("net", system, layers())
    first = net.states.copy()
    for stops in ([10], [5, 10], [1, 2, 10, 10]):
        net, diary = mocha.Net("net", system, net.layers), Diary()
        net.states.load(first)
        solver = SGD(parameters())
        solver.add_coffee_break(diary, every_n_iter=4)
        for stop in stops:
            solver.parameters = parameters(max_iter=stop)
            solver.solve(net)
        seen.append(net.parameters["x"]["weight"].numpy())
        assert solver.state.iteration == 10
        assert diary.iterations[0] == 0
        assert diary.iterations.count(0) == 1
    for weight in seen[1:]:
        np.testing.assert_array_equal(weight, seen[0])


def test_the_break_at_k_sees_the_minibatch_before_update_k(system):
    """Objective, learning rate and momentum are those of the last update; before the first there is none."""
    states = []

    class Watch(CoffeeBreak):
        def enjoy(self, solver, net):
            states.append((solver.state.objective, solver.state.learning_rate, solver.state.cells["momentum"]))

    net = mocha.Net("net", system, layers())
    objective = mocha.Net("same", system, net.layers).forward()
    solve(net, [(Watch(), {"every_n_iter": 1})], max_iter=2)
    assert np.isnan(states[0]).all()
    assert states[1] == (objective, 0.05, 0.9)


def test_long_runs_are_cut(net, monkeypatch):
    monkeypatch.setattr(SGD, "MAX_RUN", 3)
    ran = []
    original = Runs.train
    monkeypatch.setattr(Runs, "train", lambda self, p, n, *a: (ran.append(n), original(self, p, n, *a)))
    solve(net, [(Diary(), {"every_n_iter": 100})], max_iter=8)
    assert ran == [3, 3, 2]


def test_breaks_are_closed_when_training_fails(system):
    arrays = (*nets.rows()[:1], np.full(20, 5))
    data = nets.MemoryLayer(name="data", batch_size=6, arrays=arrays)
    x = InnerProductLayer(name="x", output_dim=3, bottoms=["data"], tops=["x"])
    net = mocha.Net("net", system, [data, x, SoftmaxLossLayer(name="loss", bottoms=["x", "label"])])
    diary = Diary()
    with pytest.raises(DataError, match="received 5"):
        solve(net, [(diary, {"every_n_iter": 1})])
    assert diary.entries[-1] == ("", "destroy")

    class Spilling(Diary):
        def init(self, solver, net):
            raise ZeroDivisionError

    first, never = Diary(), Diary()
    with pytest.raises(ZeroDivisionError):
        solve(net, [(first, {"every_n_iter": 1}), (Spilling(), {"every_n_iter": 1}), (never, {"every_n_iter": 1})])
    assert first.entries == [("", "init"), ("", "destroy")]
    assert never.entries == []


@pytest.mark.parametrize("prefetch", [False, True])
@pytest.mark.parametrize("name", ["plain", "blocked", "deferred, fetching"])
def test_a_failing_source_leaves_the_state_of_the_iterations_done(name, prefetch):
    """Row 13 cannot be read: two iterations of six rows are done, and counted."""
    expected = train(Plain(), layers(), max_iter=2)
    with mocha.System(BACKENDS[name](), dtype="float64", seed=3) as system:
        net = mocha.Net("net", system, layers(prefetch=prefetch, broken_row=13))
        solver = SGD(parameters())
        for _ in range(2):
            with pytest.raises(FileError, match="row 13"):
                solver.solve(net)
            assert solver.state.iteration == 2
            assert net.feeds["data"].cursor == 12
            assert_equal(contents(net) | {"objective": np.asarray(solver.state.objective)}, expected)


def test_ctrl_c_leaves_a_state_to_go_on_from(system):
    """Interrupted while the third minibatch is fetched: two iterations are done, and the rest gives the same."""

    class Impatient(nets.MemoryLayer):
        def open(self, seed):
            source = super().open(seed)
            fetch, calls = source.fetch, []

            def interrupted(rows, epoch, out):
                calls.append(rows)
                if len(calls) == 3:
                    raise KeyboardInterrupt
                fetch(rows, epoch, out)

            source.fetch = interrupted
            return source

    weights = []
    body = layers()[1:]
    first = mocha.Net("net", system, [nets.data(), *body]).states.copy()
    for kind in (nets.MemoryLayer, Impatient):
        data = kind(name="data", batch_size=6, arrays=nets.rows(), tops=("data", "label", "target"))
        net = mocha.Net("net", system, [data, *body])
        net.states.load(first)
        solver = SGD(parameters(max_iter=5))
        if kind is Impatient:
            with pytest.raises(KeyboardInterrupt):
                solver.solve(net)
            assert (solver.state.iteration, net.feeds["data"].cursor) == (2, 12)
        solver.solve(net)
        weights.append(net.parameters["x"]["weight"].numpy())
    np.testing.assert_array_equal(*weights)


def test_new_parameters_take_effect_at_the_next_solve(system):
    """All of them, also the regularization coefficient, which is part of the compiled update."""
    net = mocha.Net("net", system, layers())
    solver = SGD(parameters(max_iter=1, momentum=0.0))
    solver.solve(net)
    weight = net.parameters["x"]["weight"].numpy()
    solver.parameters = parameters(max_iter=2, momentum=0.0, regu_coef=0.25, lr_policy=0.125)
    gradient = next_gradient(net)
    solver.solve(net)
    expected = weight - 0.125 * (gradient + 2 * 0.25 * weight)
    np.testing.assert_allclose(net.parameters["x"]["weight"].numpy(), expected, rtol=1e-12)


def next_gradient(net):
    """The gradient of the minibatch that comes next, without taking it."""
    cursor = net.feeds["data"].cursor
    net.forward()
    net.backward()
    net.feeds["data"].seek(cursor)
    return net.gradient("x", "weight")


def test_a_failure_before_the_run_counts_nothing(system, monkeypatch):
    net = mocha.Net("net", system, layers())
    solver = SGD(parameters(max_iter=4))
    solver.solve(net)
    monkeypatch.setattr(net.runs, "schedule", lambda *a, **k: 1 / 0)
    solver.parameters = parameters(max_iter=8)
    with pytest.raises(ZeroDivisionError):
        solver.solve(net)
    assert solver.state.iteration == 4


def test_events_are_published_and_announced(net, register):
    heard, announced = [], []

    class Plugin:
        @hookimpl
        def mocha_solve_started(self, solver, net):
            announced.append(("started", net.name, solver.state.iteration))

        @hookimpl
        def mocha_solve_finished(self, solver, net):
            announced.append(("finished", net.name, solver.state.iteration))

        @hookimpl
        def mocha_net_built(self, net):
            announced.append(("built", net.name))

    class Caller(CoffeeBreak):
        def enjoy(self, solver, net):
            solver.publish("called", value=1)

    register(Plugin(), "listener")
    built = mocha.Net("built", net.system, layers())
    solver = SGD(parameters(max_iter=2))
    solver.listeners.append(heard.append)
    solver.add_coffee_break(Caller(), every_n_iter=2)
    solver.solve(built)
    assert heard == [{"event": "called", "iteration": i, "value": 1} for i in (0, 2)]
    assert announced == [("built", "built"), ("started", "built", 0), ("finished", "built", 2)]


@pytest.mark.parametrize("name", ["objective", "learning_rate", "momentum", "lr"])
def test_reports_of_the_state_cannot_be_assigned(net, name):
    """It would be overwritten with the next report: a policy decides."""

    class Halving(CoffeeBreak):
        def enjoy(self, solver, net):
            if solver.state.iteration:
                setattr(solver.state, name, getattr(solver.state, name, 1.0) / 2)

    with pytest.raises(StateError, match=rf"solver\.state\.{name} cannot be set.* `solver\.parameters = dataclasses"):
        solve(net, [(Halving(), {"every_n_iter": 5})])


def test_the_way_out_to_another_learning_rate_leads_out(net):
    rates = []

    class Halving(CoffeeBreak):
        def enjoy(self, solver, net):
            rates.append(solver.state.learning_rate)
            solver.parameters = dataclasses.replace(solver.parameters, lr_policy=0.1 / (1 + len(rates)))

    solve(net, [(Halving(), {"every_n_iter": 2})], max_iter=6)
    assert rates[1:] == [0.1 / 2, 0.1 / 3, 0.1 / 4]


def test_the_iteration_can_be_assigned(net):
    solver = SGD(parameters(max_iter=10))
    solver.state.iteration = 7
    diary = Diary()
    solver.add_coffee_break(diary, every_n_iter=1)
    solver.solve(net)
    assert diary.iterations == [8, 9, 10]
