"""Snapshot: what it saves, where, and when."""

import json
import os

import pytest
from run_folders import everything, iterations, snapshots

import mocha_core as mocha
from mocha_core.coffee import Snapshot, TrainingSummary, ValidationPerformance
from mocha_core.errors import ConfigurationError, FileError, UnknownNameError
from mocha_core.plugin.manager import Registries
from mocha_core.solvers import SGD


def test_files_are_named_by_iteration_and_nothing_is_saved_at_0(train, folder, messages):
    train(5, every=2)
    assert snapshots(folder) == ["snapshot-000002.hdf5", "snapshot-000004.hdf5", "snapshot-000005.hdf5"]
    lines = [line for line in messages() if "TRAIN" not in line]
    assert lines == [
        f"Snapshot directory {folder} does not exist, creating...",
        "Saving snapshot to snapshot-000002.hdf5...",
        "Saving snapshot to snapshot-000004.hdf5...",
        "Saving snapshot to snapshot-000005.hdf5...",
    ]


def test_a_crash_while_saving_costs_only_that_snapshot(train, folder, monkeypatch):
    train(4)
    replace = os.replace

    def crash(source, target):
        if "snapshot-000006" in str(target):
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", crash)
    with pytest.raises(KeyboardInterrupt):
        train(8)
    assert snapshots(folder) == ["snapshot-000002.hdf5", "snapshot-000004.hdf5"]
    monkeypatch.undo()
    train(8)
    assert snapshots(folder)[-1] == "snapshot-000008.hdf5"
    assert iterations(folder) == [1, 2, 3, 4, 5, 6, 7, 8]


def test_leftovers_of_a_killed_process_are_removed(train, folder):
    train(2)
    (folder / ".snapshot-000004.hdf5.4711.mocha-tmp").write_bytes(b"half")
    train(4)
    assert sorted(os.listdir(folder)) == everything(2, 4)


def test_a_snapshot_holds_parameters_velocity_and_facts(train, folder):
    import h5py

    weights, solver = train(3)
    with h5py.File(folder / "snapshot-000003.hdf5") as file:
        assert (file["parameters/fc___weight"][:] == weights).all()
        assert file["slots/velocity/fc___weight"].shape == weights.shape
        facts = json.loads(file["facts"][:].tobytes())
    assert facts == {
        "iteration": 3,
        "objective": solver.state.objective,
        "learning_rate": 0.1,
        "momentum": 0.5,
        "backend": "reference",
        "seed": 3,
        "dtype": "float64",
        "rows": {"data": 10},
        "batch_size": 4,
        "accumulate": 1,
        "solver": "SGD",
        "cursors": {"data": 12},
    }


def test_a_directory_that_cannot_be_used(train, folder):
    folder.parent.mkdir()
    folder.write_text("a file")
    with pytest.raises(FileError, match=rf"Snapshot directory '{folder}' cannot be used: .* Name another one"):
        train(2)


def test_without_a_format_training_does_not_begin(train, folder, monkeypatch):
    monkeypatch.setattr("mocha_core.train.formats.registries", Registries)
    with pytest.raises(UnknownNameError, match=r"ending '.hdf5' is unknown. Known: none; install mocha-hdf5"):
        train(2)
    assert not folder.exists()


@pytest.mark.parametrize("directory", ["", None, 3])
def test_a_directory_is_needed(directory):
    with pytest.raises(ConfigurationError, match=r"Snapshot: expected directory to be a path such as 'snapshots'"):
        Snapshot(directory)


def test_the_history_has_a_line_per_summary_and_validation(system, toy, folder):
    part, solver = toy.regression(system), SGD(toy.parameters(4))
    solver.add_coffee_break(Snapshot(folder), every_n_iter=4)
    solver.add_coffee_break(TrainingSummary(), every_n_iter=2)
    solver.add_coffee_break(ValidationPerformance(toy.accuracy_net(system, part)), every_n_iter=4)
    solver.solve(part.net)
    events = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    assert [(e["event"], e["iteration"]) for e in events] == [
        ("validation", 0), ("training", 2), ("training", 4), ("validation", 4),
    ]  # fmt: skip
    assert [set(e) for e in events[:2]] == [
        {"event", "iteration", "time", "statistics"},
        {"event", "iteration", "time", "objective", "learning_rate"},
    ]
    assert events[2]["objective"] == solver.state.objective
    assert set(events[3]["statistics"]) == {"test-accuracy-accuracy"}
    assert solver.listeners == []


def test_a_second_run_in_a_folder_is_refused_and_the_first_is_not_disturbed(train, folder, toy):
    class Rival(TrainingSummary):
        def enjoy(self, solver, net):
            if solver.state.iteration == 3:
                with pytest.raises(FileError, match=rf"'{folder}' is in use by another Snapshot of this process"):
                    train(2)

    with mocha.System(toy.NumPy(), dtype="float64", seed=3) as system:
        solver = SGD(toy.parameters(4))
        solver.add_coffee_break(Snapshot(folder), every_n_iter=2)
        solver.add_coffee_break(Rival(), every_n_iter=1)
        solver.solve(toy.regression(system).net)
    assert sorted(os.listdir(folder)) == everything(2, 4)
    train(6)  # the folder is free again


def test_a_folder_is_free_again_after_an_error(train, folder, toy):
    class Fail(TrainingSummary):
        def init(self, solver, net):
            raise ZeroDivisionError

    with mocha.System(toy.NumPy()) as system:
        solver = SGD(toy.parameters(4))
        solver.add_coffee_break(Snapshot(folder), every_n_iter=2)
        solver.add_coffee_break(Fail(), every_n_iter=2)
        with pytest.raises(ZeroDivisionError):
            solver.solve(toy.regression(system).net)
    assert solver.listeners == []
    train(2)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("on_error", ["warn", "stop"])
def test_a_forked_child_writes_nothing_and_leaves_the_folder_to_its_parent(folder, toy, system, on_error):
    class Fork(TrainingSummary):
        def enjoy(self, solver, net):
            if solver.state.iteration == 1:
                self.child = os.fork()

    part, solver, fork = toy.regression(system), SGD(toy.parameters(2)), Fork()
    solver.add_coffee_break(fork, every_n_iter=1)
    solver.add_coffee_break(TrainingSummary(), every_n_iter=1)
    solver.add_coffee_break(Snapshot(folder, on_error=on_error), every_n_iter=1)
    try:
        solver.solve(part.net)
    except FileError:
        os._exit(33 if fork.child == 0 else 1)
    if fork.child == 0:
        os._exit(44)
    assert os.waitstatus_to_exitcode(os.waitpid(fork.child, 0)[1]) == (44 if on_error == "warn" else 33)
    assert sorted(os.listdir(folder)) == everything(1, 2)
    assert iterations(folder) == [1, 2]


def test_a_run_that_is_told_to_stop_is_saved_once(folder, toy, system, messages):
    solver, snapshot = SGD(toy.parameters(3)), Snapshot(folder)
    part = toy.regression(system)

    class Stop(TrainingSummary):
        def enjoy(self, solver, net):
            if solver.state.iteration == 1:
                for _ in range(2):
                    snapshot.stopped(solver, net)

    solver.add_coffee_break(Stop(), every_n_iter=1)
    solver.add_coffee_break(snapshot, every_n_iter=3)
    solver.solve(part.net)
    assert sorted(os.listdir(folder)) == everything(1, 3)
    assert messages().count("Saving snapshot to snapshot-000001.hdf5...") == 1
    snapshot.stopped(solver, part.net)  # after the run it does nothing
    assert sorted(os.listdir(folder)) == everything(1, 3)


@pytest.mark.parametrize("name", ["auto_load", "also_load_solver_state"])
@pytest.mark.parametrize("value", [None, "no", 0, 1])
def test_what_is_neither_true_nor_false(folder, name, value):
    with pytest.raises(ConfigurationError, match=f"Snapshot: expected {name} to be .* received {value!r}"):
        Snapshot(folder, **{name: value})
