"""Stopped and resumed, a run is the uninterrupted one bit for bit: with dropout, momentum, shuffling, statistics."""

from dataclasses import replace

import numpy as np
import pytest
from toys import nets
from toys.backends import BACKENDS
from toys.inner_product import InnerProductLayer
from toys.observe import parameters
from toys.plain import Plain
from toys.sgd import SGD
from toys.square_loss import SquareLossLayer

import mocha_core as mocha
from mocha_core.errors import FileError, SnapshotError
from mocha_core.train.coffee_break import CoffeeBreak
from mocha_core.train.snapshot import capture, restore


def layers(**options):
    return [nets.data(shuffle=True, **options), *nets.body(), *nets.losses()]


def run(backend, stop, snapshot=None, dtype="float32", **options):
    """A snapshot after `stop` iterations, begun anew or from a snapshot; and the objective at each one."""
    objectives = []

    class Resume(CoffeeBreak):
        def init(self, solver, net):
            if snapshot is not None:
                restore(snapshot, solver, net)

        def enjoy(self, solver, net):
            objectives.append(solver.state.objective)

    with mocha.System(backend, dtype=dtype, seed=9) as system:
        net = mocha.Net("net", system, layers(**options))
        solver = SGD(parameters(max_iter=stop))
        solver.add_coffee_break(Resume(), every_n_iter=1)
        solver.solve(net)
        result = capture(solver, net), objectives
        net.destroy()
        return result


def assert_same_bytes(one, two):
    for arrays, others in ((one.parameters, two.parameters), (one.slots, two.slots)):
        assert arrays.keys() == others.keys()
        for key in arrays:
            assert arrays[key].tobytes() == others[key].tobytes(), key
    assert one.facts == two.facts


@pytest.mark.parametrize("name", BACKENDS)
def test_a_resumed_run_is_the_uninterrupted_one(name):
    make = BACKENDS[name]
    whole, objectives = run(make(), 11)
    first, before = run(make(), 5)
    resumed, after = run(make(), 11, first)
    assert_same_bytes(resumed, whole)
    assert [*before[1:], *after] == objectives[1:]
    assert len(after) == 6


def test_prefetching_resumes_where_the_consumer_was():
    whole, _ = run(Plain(), 9)
    first, _ = run(Plain(), 4, prefetch=True)
    resumed, _ = run(Plain(), 9, first, prefetch=True)
    assert_same_bytes(resumed, whole)


def test_two_runs_with_one_seed_give_the_same_bytes():
    assert_same_bytes(run(Plain(), 6)[0], run(Plain(), 6)[0])


def test_the_run_depends_on_everything_saved():
    """Leaving any part out of the snapshot would show."""
    whole, _ = run(Plain(), 9, dtype="float64")
    first, _ = run(Plain(), 4, dtype="float64")
    for part in ("slots", "parameters"):
        for key in getattr(first, part):
            broken, _ = run(Plain(), 4, dtype="float64")
            getattr(broken, part)[key][...] += 0.01
            resumed, _ = run(Plain(), 9, broken, dtype="float64")
            changed = key.split("/")[-1]
            assert not np.array_equal(resumed.parameters[changed], whole.parameters[changed]), key
    for fact, value in (("iteration", 3), ("cursors", {"data": 30})):
        first.facts[fact] = value
        resumed, _ = run(Plain(), 9, first, dtype="float64")
        assert not np.array_equal(resumed.parameters["scores___weight"], whole.parameters["scores___weight"])
        first, _ = run(Plain(), 4, dtype="float64")


def test_another_dtype_is_named(caplog):
    snapshot, _ = run(Plain(), 2)
    with mocha.System(Plain(), dtype="float64", seed=9) as system:
        restore(snapshot, SGD(parameters()), mocha.Net("net", system, layers()))
    assert "made with dtype float32, this system has dtype float64: the run goes on, but not as" in caplog.text
    assert "seed" not in caplog.text


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, None) for name in ("iteration", "objective", "learning_rate", "momentum", "seed", "dtype", "solver")),
        ("iteration", -1),
        ("iteration", 2.0),
        ("iteration", True),
        ("iteration", 10**30),
        ("objective", "low"),
        ("momentum", False),
        ("seed", "9"),
        ("dtype", 32),
        ("solver", ["SGD"]),
        ("cursors", [18]),
        ("cursors", {"data": -1}),
        ("cursors", {"data": 1.5}),
        ("cursors", {"data": "18"}),
        ("cursors", {"data": 2**63}),
        ("cursors", {}),
        ("cursors", {"data": 1, "other": 1}),
    ],
)
@pytest.mark.parametrize("missing", [False, True])
def test_facts_that_make_no_sense_change_nothing(name, value, missing):
    snapshot, _ = run(Plain(), 3)
    if missing:
        del snapshot.facts[name]
    else:
        snapshot.facts[name] = value
    with mocha.System(Plain(), seed=9) as system:
        net, solver = mocha.Net("net", system, layers()), SGD(parameters())
        before = {key: state.numpy() for key, state in net.states.items()}
        with pytest.raises(SnapshotError, match=r"The snapshot's '(\w+)' is .*, expected|another net: its data layers"):
            restore(snapshot, solver, net)
        assert (solver.state.iteration, net.feeds["data"].cursor) == (0, 0)
        for key, array in before.items():
            np.testing.assert_array_equal(net.states[key].numpy(), array)
        restore(snapshot, solver, net, solver_state=False)


def test_a_slot_that_cannot_be_read_changes_nothing():
    class Damaged:
        def __init__(self, array):
            self.shape, self.dtype = array.shape, array.dtype

        def __array__(self, dtype=None, copy=None):
            raise FileError("damaged")

    snapshot, _ = run(Plain(), 3)
    key = sorted(snapshot.slots)[-1]
    snapshot.slots[key] = Damaged(snapshot.slots[key])
    with mocha.System(Plain(), seed=9) as system:
        net, solver = mocha.Net("net", system, layers()), SGD(parameters())
        before = {key: state.numpy() for key, state in net.states.items()}
        with pytest.raises(FileError, match="damaged"):
            restore(snapshot, solver, net)
        for key, array in before.items():
            np.testing.assert_array_equal(net.states[key].numpy(), array)
        snapshot.slots["velocity"] = np.zeros(3)
        with pytest.raises(SnapshotError, match="solver slots lack nothing, and have velocity more"):
            restore(snapshot, solver, net)


def other_net(system, dim=3):
    x = InnerProductLayer(name="x", output_dim=dim, bottoms=["data"], tops=["x"])
    target = [SquareLossLayer(bottoms=["x", "target"])] if dim == 3 else []
    return mocha.Net("other", system, [nets.data(), x, *target])


def test_a_snapshot_of_another_net_changes_nothing():
    snapshot, _ = run(Plain(), 2)
    with mocha.System(Plain(), seed=9) as system:
        net, solver = other_net(system), SGD(parameters())
        before = net.parameters["x"]["weight"].numpy()
        with pytest.raises(
            SnapshotError, match=r"another net: its parameters lack x___bias, x___weight, and have conv1"
        ):
            restore(snapshot, solver, net)
        solver.solve(net)
        own = capture(solver, net)
        wide = other_net(system, dim=4)
        with pytest.raises(SnapshotError, match=r"'x___weight' has shape \(3, 128\), expected \(4, 128\)"):
            restore(own, SGD(parameters()), wide)
        assert not np.array_equal(net.parameters["x"]["weight"].numpy(), before)

        class Other(SGD):
            pass

        with pytest.raises(SnapshotError, match="of solver SGD, this is Other"):
            restore(own, Other(parameters()), net)
        del own.slots["velocity/x___bias"]
        weight = net.parameters["x"]["weight"].numpy()
        own.parameters["x___weight"][...] = 0
        with pytest.raises(SnapshotError, match="solver slots lack velocity/x___bias"):
            restore(own, solver, net)
        np.testing.assert_array_equal(net.parameters["x"]["weight"].numpy(), weight)


def test_parameters_only_and_another_seed(caplog):
    snapshot, _ = run(Plain(), 3)
    with mocha.System(Plain(), seed=1) as system:
        net, solver = mocha.Net("net", system, layers()), SGD(parameters())
        restore(snapshot, solver, net, solver_state=False)
        assert (solver.state.iteration, net.feeds["data"].cursor, solver.memories(net)) == (0, 0, {})
        for key, array in snapshot.parameters.items():
            np.testing.assert_array_equal(net.states[key].numpy(), array)
        assert not caplog.records
        restore(snapshot, solver, net)
        assert "made with seed 9, this system has seed 1" in caplog.text
        assert (solver.state.iteration, net.feeds["data"].cursor) == (3, 18)


@pytest.mark.parametrize("second", ["x", "y"])
def test_a_solver_that_trained_another_net_too(second):
    def dense(name):
        return [
            nets.data(),
            InnerProductLayer(name=name, output_dim=3, bottoms=["data"], tops=["out"]),
            SquareLossLayer(bottoms=["out", "target"]),
        ]

    with mocha.System(Plain(), seed=9) as system:
        solver, net, other = SGD(parameters(max_iter=2)), *(mocha.Net("net", system, dense(n)) for n in ("x", second))
        for trained, max_iter in ((net, 2), (other, 5)):
            solver.parameters = replace(solver.parameters, max_iter=max_iter)
            solver.solve(trained)
        snapshot = capture(solver, net)
        solver.parameters = replace(solver.parameters, max_iter=7)
        solver.solve(net)
        expected = net.parameters["x"]["weight"].numpy()
    with mocha.System(Plain(), seed=9) as system:
        solver, net = SGD(parameters(max_iter=7)), mocha.Net("net", system, dense("x"))
        restore(snapshot, solver, net)
        solver.solve(net)
        np.testing.assert_array_equal(net.parameters["x"]["weight"].numpy(), expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch": 4}, "with batch_size 6, this system has batch_size 4"),
        ({"n": 19}, "with rows {'data': 20}, this system has rows {'data': 19}"),
        ({}, "with accumulate 1, this system has accumulate 2"),
    ],
)
def test_other_data_or_minibatches_are_a_warning(options, message, caplog):
    saved, _ = run(Plain(), 3)
    with mocha.System(Plain(), seed=9) as system:
        net = mocha.Net("net", system, layers(**options))
        restore(saved, SGD(parameters(accumulate=1 if options else 2)), net)
        net.destroy()
    (warning,) = caplog.messages
    assert message in warning
    assert warning.endswith("the run goes on, but not as the uninterrupted one would.")


def test_the_same_run_and_older_snapshots_give_no_warning(caplog):
    saved, _ = run(Plain(), 3)
    for facts in (saved.facts, {k: v for k, v in saved.facts.items() if k not in ("rows", "batch_size", "accumulate")}):
        run(Plain(), 4, replace(saved, facts=facts))
    assert not [record for record in caplog.records if record.levelname == "WARNING"]
