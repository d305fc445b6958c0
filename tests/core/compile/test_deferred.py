"""A backend that records once and replays: what it may see, when, and how often the host is asked."""

from dataclasses import replace

import numpy as np
import pytest
from toys import nets
from toys.deferred import Deferred
from toys.device import HostRead
from toys.half import HostHalf
from toys.observe import parameters
from toys.sgd import SGD

import mocha_core as mocha
from mocha_core.errors import DataError
from mocha_core.graph.plan import Section


def layers(*, half=False, data=None):
    """Without `half`, no step of the net runs on the host."""
    body = nets.body()
    if not half:
        body = [replace(x, bottoms=["ip1"]) if "half" in x.bottoms else x for x in body if x.name != "half"]
    return [data or nets.data(), *body, *nets.losses()]


def start(**options):
    backend = Deferred(**options)
    return mocha.System(backend, dtype="float64", seed=3), backend.device


def test_host_reads_without_synchronising_are_caught():
    backend = Deferred()
    array = backend.empty((3,), "float32")
    array[...] = 1
    for read in (np.asarray, list, bool, lambda a: float(a[0]), lambda a: a + 1, backend.xp.sum):
        with pytest.raises(HostRead):
            read(array)
    assert backend.device.queue, "nothing ran yet"
    assert backend.to_numpy(array).tolist() == [1, 1, 1]


def test_iterate_waits_once_however_many_iterations():
    system, device = start()
    with system:
        net = mocha.Net("net", system, layers())
        solver = SGD(parameters(max_iter=50))
        program = net.runs.training_program(solver)
        device.synchronise()
        waits = device.waits
        net.runs.train(program, 50, 0, solver.schedule(0, 50))
        assert device.waits == waits + 1
        assert program.splits == 0
        assert len(program.objectives) == program.done == 50
        assert len(set(program.objectives)) == 50


def test_only_declared_splits_leave_the_device():
    system, _device = start()
    with system:
        net = mocha.Net("net", system, layers(half=True))
        solver = SGD(parameters(max_iter=5))
        solver.solve(net)
        program = net.runs.last_program()
        hosts = [b.kernel for b in program.bound if b.kernel.splits]
        assert {type(kernel) for kernel in hosts} == {HostHalf}
        assert program.splits == 2 * 5
        forward = [splits for splits, _ in program.recorded[Section.FORWARD]]
        assert forward == [False, True, False]


def test_minibatches_are_gathered_from_resident_data():
    for resident in (True, False):
        system, _device = start(resident=resident)
        with system:
            net = mocha.Net("net", system, layers(data=nets.data(shuffle=True)))
            SGD(parameters(max_iter=9)).solve(net)
            ops = {use.op for use in net.runs.last_program().kernels()}
            assert ("mocha.gather" in ops, "mocha.fetch" in ops) == (resident, not resident)
            seen = net.forward(), net.blobs["data"].numpy(), net.feeds["data"].cursor
        if resident:
            expected = seen
    assert seen[0] == expected[0]
    np.testing.assert_array_equal(seen[1], expected[1])
    assert seen[2] == expected[2] == 60


def test_a_test_forward_takes_the_same_rows_resident_or_not():
    """The minibatch that passes the end of the data wraps round in `forward`, whatever the phase."""
    rows = []
    for resident in (True, False):
        system, _device = start(resident=resident)
        with system:
            net = mocha.Net("net", system, layers(data=nets.data(n=8)))
            for _ in range(2):
                net.forward(mocha.Phase.TEST)
            rows.append(net.blobs["data"].numpy())
    np.testing.assert_array_equal(*rows)
    np.testing.assert_allclose(rows[0][2:], nets.rows(8)[0][:4].astype("float32"), rtol=1e-6)


def test_scheduled_cells_are_written_inside_the_replay(monkeypatch):
    """The host copies nothing into cells while it iterates, and still every iteration has its own values."""
    system, _device = start()
    with system:
        net = mocha.Net("net", system, layers())
        solver = SGD(parameters(max_iter=20))
        program = net.runs.training_program(solver)
        rates = np.where(np.arange(20) < 10, 0.05, 0.0)
        cells = solver.schedule(0, 20) | {"learning_rate": rates, "momentum": np.zeros(20)}
        copies, original = [], Deferred.copy_from_numpy
        monkeypatch.setattr(Deferred, "copy_from_numpy", lambda *a: (copies.append(a), original(*a)))
        net.runs.train(program, 10, 0, {name: column[:10] for name, column in cells.items()})
        half_way = net.parameters["scores"]["weight"].numpy()
        net.runs.train(program, 10, 10, {name: column[10:] for name, column in cells.items()})
        assert copies == []
        names = {"iteration", "first_row", "valid_rows", "objective_gradient", "learning_rate", "momentum", "data.rows"}
        assert len(program.columns) == len(names)
        np.testing.assert_array_equal(net.parameters["scores"]["weight"].numpy(), half_way)
        assert system.read(net.runs.recorder.cells["iteration"]) == 19


@pytest.mark.parametrize("resident", [True, False])
def test_a_fault_stops_updates_and_the_count(resident):
    """The label of row 13 is out of range: two minibatches of six are fine, the third is not."""
    images, labels, targets = nets.rows(18)
    labels = labels.copy()
    labels[13] = 9
    data = nets.MemoryLayer(
        name="data", batch_size=6, arrays=(images, labels, targets), tops=("data", "label", "target")
    )
    system, _device = start(resident=resident)
    with system:
        net = mocha.Net("net", system, layers(data=data))
        solver = SGD(parameters(max_iter=2))
        solver.solve(net)
        after_two = {k: s.numpy() for k, s in net.parameters["scores"].items()}
        state = solver.state.objective
        with mocha.System(Deferred(resident=resident), dtype="float64", seed=3) as other:
            faulty = mocha.Net("faulty", other, net.layers)
            solver = SGD(parameters(max_iter=7))
            with pytest.raises(DataError, match=r"Layer 'loss' in net 'faulty': expected labels 0 to 2"):
                solver.solve(faulty)
            assert (solver.state.iteration, solver.state.objective) == (2, state)
            assert faulty.feeds["data"].cursor == 12
            for name, array in after_two.items():
                np.testing.assert_array_equal(faulty.parameters["scores"][name].numpy(), array)


def test_addresses_stay_while_programs_of_all_kinds_take_turns():
    """The toy asserts it after each replay; here all of them replay several times over one storage."""
    system, _device = start()
    with system:
        net = mocha.Net("net", system, layers())
        solver = SGD(parameters(max_iter=2))
        storage = {}
        for turn in range(1, 4):
            solver.parameters = parameters(max_iter=2 * turn)
            solver.solve(net)
            net.predict(nets.rows(7)[0], "scores")
            net.forward_epoch()
            net.forward()
            net.backward()
            now = {k: system.storage[s.value].address for k, s in net.states.items()}
            assert storage in ({}, now)
            storage = now
