"""The coffee break Snapshot: what it saves, loads, skips, cleans and says."""

import errno
import gc
import json
import os
from contextlib import contextmanager

import pytest
from mocha_hdf5.format import HDF5Format

import mocha_core as mocha
from mocha_core.coffee import Snapshot, TrainingSummary, ValidationPerformance
from mocha_core.errors import ConfigurationError, FileError, SnapshotError, UnknownNameError
from mocha_core.plugin.manager import Registries
from mocha_core.solvers import SGD
from mocha_core.train.solver import Solver


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "runs" / "snapshots"


@pytest.fixture
def train(toy, folder):
    """A function that trains a new net with snapshots, and returns its weights and its solver."""

    def train(max_iter, every=2, solver=None, seed=3, **options):
        with mocha.System(toy.NumPy(), dtype="float64", seed=seed) as system:
            part = toy.regression(system)
            solver = (solver or SGD)(toy.parameters(max_iter))
            solver.add_coffee_break(TrainingSummary(), every_n_iter=1)
            solver.add_coffee_break(Snapshot(folder, **options), every_n_iter=every)
            solver.solve(part.net)
            return part.net.parameters["fc"]["weight"].numpy(), solver

    return train


def snapshots(folder):
    return sorted(path.name for path in folder.glob("snapshot-*"))


def everything(*iterations):
    """What a folder holds with snapshots of these iterations, and nothing else."""
    return [".lock", "history.jsonl", "manifest.json", *(f"snapshot-{i:06d}.hdf5" for i in iterations)]


def listed(folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    return [entry["iteration"] for entry in manifest["snapshots"]]


def iterations(folder):
    """Of the events in the history."""
    return [json.loads(line)["iteration"] for line in (folder / "history.jsonl").read_text().splitlines()]


def damage(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


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


def test_the_newest_by_number_is_loaded_and_not_saved_again(train, folder, messages):
    train(12, every=2)
    os.utime(folder / "snapshot-000002.hdf5")  # the newest by time
    content = (folder / "snapshot-000012.hdf5").read_bytes()
    stamp = (folder / "snapshot-000012.hdf5").stat().st_mtime_ns
    messages()
    _, solver = train(12, every=2)
    assert messages() == [
        f"Snapshot directory {folder} already exists",
        f"Auto-loading from the latest snapshot {folder / 'snapshot-000012.hdf5'}...",
        "Already at iteration 12 of 12",
    ]
    assert solver.state.iteration == 12
    assert (folder / "snapshot-000012.hdf5").stat().st_mtime_ns == stamp
    assert (folder / "snapshot-000012.hdf5").read_bytes() == content


def test_numbers_of_more_than_six_digits_count_as_numbers(train, folder):
    train(2)
    (folder / "snapshot-000002.hdf5").rename(folder / "snapshot-1000000.hdf5")
    (folder / "snapshot-999999.hdf5").write_text("older and broken: never looked at")
    (folder / "snapshot-10000000.hdf5.bak").write_text("no snapshot")
    _, solver = train(2)
    assert solver.state.iteration == 2


def test_stopped_and_resumed_is_uninterrupted(train, folder):
    whole, solver = train(7, every=7)
    content = (folder / "snapshot-000007.hdf5").read_bytes()
    for name in os.listdir(folder):
        (folder / name).unlink()
    train(3, every=3)
    resumed, again = train(7, every=3)
    assert (whole == resumed).all()
    assert solver.state == again.state
    assert (folder / "snapshot-000007.hdf5").read_bytes() == content


def test_without_auto_load_a_run_begins_anew(train, folder, messages):
    train(4)
    messages()
    _, solver = train(2, auto_load=False)
    lines = messages()
    assert f"Overwriting {folder / 'snapshot-000002.hdf5'}..." in lines
    assert f"Dropping 4 events after iteration 0 from {folder / 'history.jsonl'}" in lines
    assert solver.state.iteration == 2


def test_without_the_solver_state_only_the_parameters_are_loaded(train, folder, toy):
    weights, _ = train(4)
    with mocha.System(toy.NumPy(), dtype="float64", seed=8) as system:
        part, solver, seen = toy.regression(system), SGD(toy.parameters(4)), []
        solver.add_coffee_break(Snapshot(folder, also_load_solver_state=False), every_n_iter=4)

        class Look(mocha.coffee.TrainingSummary):
            def enjoy(self, solver, net):
                seen.append((solver.state.iteration, net.parameters["fc"]["weight"].numpy()))

        solver.add_coffee_break(Look(), every_n_iter=100)
        solver.solve(part.net)
    assert seen[0][0] == 0
    assert (seen[0][1] == weights).all()
    assert seen[1][0] == 4


def test_broken_snapshots_are_named_and_skipped(train, folder, messages):
    train(6, every=2)
    newest, second = folder / "snapshot-000006.hdf5", folder / "snapshot-000004.hdf5"
    newest.write_bytes(newest.read_bytes()[:-1])
    content = bytearray(second.read_bytes())
    content[len(content) // 2] ^= 1
    second.write_bytes(content)
    messages()
    _, solver = train(2)
    lines = messages()
    damaged = "is incomplete or damaged: its contents do not match their checksum. Delete it."
    assert lines == [
        f"Snapshot directory {folder} already exists",
        f"Skipping snapshot-000006.hdf5: '{newest}' {damaged}",
        f"Skipping snapshot-000004.hdf5: '{second}' {damaged}",
        f"Auto-loading from the latest snapshot {folder / 'snapshot-000002.hdf5'}...",
        f"Dropping 4 events after iteration 2 from {folder / 'history.jsonl'}",
        "Already at iteration 2 of 2",
    ]
    assert solver.state.iteration == 2


@pytest.mark.parametrize("manifest", [True, False])
def test_a_run_whose_snapshots_are_all_broken_does_not_begin_anew_in_silence(train, folder, manifest):
    weights, _ = train(4)
    damage(folder / "snapshot-000002.hdf5")
    (folder / "snapshot-000004.hdf5").write_bytes(b"")
    if not manifest:
        (folder / "manifest.json").unlink()
    before = {path: path.read_bytes() for path in folder.iterdir() if path.name != ".lock"}
    expected = (
        r"snapshots' has no snapshot that is complete: .*snapshot-000004.hdf5' is not a snapshot.*-000002.hdf5' is "
        r"incomplete or damaged.*delete them and manifest.json, or use Snapshot\(..., auto_load=False\)"
    )
    with pytest.raises(SnapshotError, match=expected):
        train(4)
    assert {path: path.read_bytes() for path in folder.iterdir() if path.name != ".lock"} == before
    again, _ = train(4, auto_load=False)
    assert (again == weights).all()
    assert listed(folder) == [2, 4]


def test_a_run_whose_snapshots_all_vanished_does_not_begin_anew_in_silence(train, folder):
    train(4)
    for path in folder.glob("snapshot-*"):
        path.unlink()
    with pytest.raises(SnapshotError, match=r"snapshot-000002.hdf5 is missing, though the manifest lists it\. snapsh"):
        train(4)
    (folder / "manifest.json").unlink()
    assert train(4)[1].state.iteration == 4


@pytest.mark.parametrize("when", ["opening", "reading"])
def test_a_snapshot_that_the_disk_does_not_give_back_is_skipped(train, folder, monkeypatch, messages, when):
    train(4)
    newest = folder / "snapshot-000004.hdf5"

    class Unreadable:
        def __init__(self, array):
            self.shape, self.dtype = array.shape, array.dtype

        def __array__(self, *arguments, **options):
            raise FileError(f"'{newest}' cannot be read: Input/output error.")

    @contextmanager
    def open_snapshot(self, path, real=HDF5Format.open_snapshot):
        with real(self, path) as snapshot:
            if path == newest:
                unreadable = {key: Unreadable(array) for key, array in snapshot.parameters.items()}
                if when == "opening":
                    next(iter(unreadable.values())).__array__()
                snapshot.parameters = unreadable
            yield snapshot

    monkeypatch.setattr(HDF5Format, "open_snapshot", open_snapshot)
    messages()
    assert train(2)[1].state.iteration == 2
    assert f"Skipping {newest.name}: '{newest}' cannot be read: Input/output error." in messages()


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


def test_another_net_is_an_error_that_names_the_way_out(train, folder, toy):
    train(2)
    with mocha.System(toy.NumPy()) as system:
        other, solver = toy.regression(system, features=5).net, SGD(toy.parameters(4))
        solver.add_coffee_break(Snapshot(folder), every_n_iter=2)
        with pytest.raises(
            SnapshotError,
            match=r"snapshot-000002.hdf5': .*'fc___weight' has shape \(2, 3\), expected \(2, 5\). Use another sn",
        ):
            solver.solve(other)
    assert solver.listeners == []


def test_another_solver_is_an_error_that_names_the_way_out(train):
    class Other(Solver):
        slots = ("velocity",)
        update = SGD.update
        hyperparameters = SGD.hyperparameters

    train(2)
    with pytest.raises(SnapshotError, match=r"is of solver SGD, this is Other. Use .*also_load_solver_state=False"):
        train(4, solver=Other)


def test_another_seed_is_a_warning(train, messages):
    train(2)
    messages()
    train(4, seed=4)
    assert any(line.startswith("The snapshot was made with seed 3, this system has seed 4") for line in messages())


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


class TestKeep:
    def test_the_newest_are_kept(self, train, folder, messages):
        train(9, every=2, keep=2)
        assert sorted(os.listdir(folder)) == everything(8, 9)
        assert listed(folder) == [8, 9]
        assert [line for line in messages() if "Removing" in line] == [
            f"Removing snapshot-{i:06d}.hdf5: 2 snapshots are kept" for i in (2, 4, 6)
        ]
        train(12, every=4, keep=1)
        assert sorted(os.listdir(folder)) == everything(12)

    def test_numbers_count_as_numbers(self, train, folder, toy):
        with mocha.System(toy.NumPy(), dtype="float64", seed=3) as system:
            part, solver = toy.regression(system), SGD(toy.parameters(1_000_001))
            solver.state.iteration = 999_997
            solver.add_coffee_break(Snapshot(folder, keep=2), every_n_iter=1)
            solver.solve(part.net)
        assert sorted(path.name for path in folder.glob("snapshot-*")) == [
            "snapshot-1000000.hdf5", "snapshot-1000001.hdf5",
        ]  # fmt: skip
        assert train(1, keep=2)[1].state.iteration == 1_000_001

    def test_what_others_left_is_never_removed(self, train, folder):
        train(4)
        (folder / "notes.txt").write_text("mine")
        (folder / "snapshot-000001.hdf5.bak").write_text("mine")
        copied = (folder / "snapshot-000004.hdf5").read_bytes()
        train(8, auto_load=False, every=3, keep=1)
        left = sorted(path.name for path in folder.glob("[sn]*"))
        assert left == [
            "notes.txt", "snapshot-000001.hdf5.bak", "snapshot-000002.hdf5", "snapshot-000004.hdf5",
            "snapshot-000008.hdf5",
        ]  # fmt: skip
        assert (folder / "snapshot-000004.hdf5").read_bytes() == copied

    def test_a_file_that_cannot_be_deleted_is_tried_again(self, train, folder, monkeypatch, messages):
        unlink, refused = os.unlink, []

        def refuse(path, **options):
            if os.path.basename(path) == "snapshot-000002.hdf5" and len(refused) < 2:
                refused.append(path)
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            unlink(path, **options)

        monkeypatch.setattr(os, "unlink", refuse)
        train(8, keep=1)
        assert sorted(os.listdir(folder)) == everything(8)
        warning = f"'{folder / 'snapshot-000002.hdf5'}' cannot be deleted: Input/output error. It stays."
        assert messages().count(warning) == 2

    def test_a_deletion_that_a_kill_prevented_is_made_up_for(self, train, folder, monkeypatch):
        train(4)
        old = (folder / "snapshot-000002.hdf5").read_bytes()
        train(6, keep=2)
        assert sorted(os.listdir(folder)) == everything(4, 6)
        (folder / "snapshot-000002.hdf5").write_bytes(old)
        train(6)
        assert sorted(os.listdir(folder)) == everything(4, 6)

    def test_a_deletion_that_was_due_gives_way_to_the_only_complete_one(self, train, folder):
        train(4)
        old = (folder / "snapshot-000002.hdf5").read_bytes()
        train(6, keep=2)
        (folder / "snapshot-000002.hdf5").write_bytes(old)
        for name in ("snapshot-000004.hdf5", "snapshot-000006.hdf5"):
            damage(folder / name)
        assert train(2)[1].state.iteration == 2
        assert listed(folder) == [2]
        assert (folder / "snapshot-000002.hdf5").read_bytes() == old

    def test_another_file_of_the_name_of_a_deleted_one_stays(self, train, folder):
        train(6, keep=2)
        (folder / "snapshot-000002.hdf5").write_text("copied here by somebody")
        train(6)
        assert (folder / "snapshot-000002.hdf5").read_text() == "copied here by somebody"

    @pytest.mark.parametrize("keep", [0, -1, 1.5, "2", True])
    def test_a_number_is_needed(self, keep):
        with pytest.raises(ConfigurationError, match=r"Snapshot: expected keep to be an integer >= 1, received"):
            Snapshot("snapshots", keep=keep)


def break_call(monkeypatch, call, where, times=10**9):
    """Makes calls of `os` that concern files of that name fail, as on a full disk."""
    real, opened, failures = {name: getattr(os, name) for name in ("open", call)}, {}, []

    def note(path, *arguments, **options):
        descriptor = real["open"](path, *arguments, **options)
        opened[descriptor] = str(path)
        return descriptor

    def refuse(target, *arguments, **options):
        path = opened.get(target, "") if isinstance(target, int) else str(target)
        if where in path and len(failures) < times:
            failures.append(path)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real[call](target, *arguments, **options)

    monkeypatch.setattr(os, "open", note)
    monkeypatch.setattr(os, call, refuse)
    return failures


class TestDiskFull:
    def test_training_goes_on_with_a_warning_and_tries_again(self, train, folder, monkeypatch, messages):
        failures = break_call(monkeypatch, "replace", "snapshot-000004")
        _, solver = train(6)
        assert len(failures) == 1
        assert solver.state.iteration == 6
        assert sorted(os.listdir(folder)) == everything(2, 6)
        (warning,) = (line for line in messages() if "not be saved" in line)
        assert warning.startswith(f"Iteration 4 could not be saved: '{folder / 'snapshot-000004.hdf5'}'")
        assert "cannot be written" in warning
        assert "No space left on device" in warning
        assert warning.endswith("The newest is that of iteration 2.")
        assert listed(folder) == [2, 6]

    def test_training_stops_by_choice(self, train, folder, monkeypatch):
        break_call(monkeypatch, "replace", "snapshot-000004")
        with pytest.raises(FileError, match=r"snapshot-000004.hdf5'.* cannot be written: .*No space left"):
            train(6, on_error="stop")
        assert sorted(os.listdir(folder)) == everything(2)
        monkeypatch.undo()
        assert train(6, on_error="stop")[1].state.iteration == 6

    def test_an_error_that_is_kept_in_a_cycle_is_collected_in_silence(self, train, folder, monkeypatch):
        break_call(monkeypatch, "write", "snapshot-000004")
        with pytest.raises(FileError) as caught:
            train(6, on_error="stop")
        caught.value.itself = caught.value
        del caught
        gc.collect()  # what cannot be closed would be an error here

    @pytest.mark.parametrize("call", ["write", "fsync", "replace"])
    def test_a_manifest_that_cannot_be_written(self, train, folder, monkeypatch, messages, call):
        train(2)
        break_call(monkeypatch, call, ".manifest.json", times=2)
        with pytest.raises(FileError, match=r"manifest.json' \([\d,]+ bytes\) cannot be written: No space left on"):
            train(4)  # better now than after hours
        monkeypatch.undo()

        class Late(Snapshot):
            def init(self, solver, net):
                super().init(solver, net)
                break_call(monkeypatch, call, ".manifest.json", times=1)

        monkeypatch.setattr(f"{__name__}.Snapshot", Late)
        messages()
        train(6, keep=1)
        (warning,) = (line for line in messages() if "not listed" in line)
        assert warning.startswith("Iteration 4 is saved, but not listed: ")
        assert "manifest.json" in warning
        assert warning.endswith("The newest is that of iteration 4.")
        assert sorted(os.listdir(folder)) == everything(6)
        assert listed(folder) == [6]

    def test_events_wait_until_there_is_space(self, train, folder, monkeypatch, messages):
        failures = break_call(monkeypatch, "write", "history.jsonl", times=3)
        train(6)
        assert len(failures) == 3
        (warning,) = (line for line in messages() if "waits" in line)
        assert warning.startswith(f"An event waits to be written: '{folder / 'history.jsonl'}' cannot be read or wr")
        assert iterations(folder) == [1, 2, 3, 4, 5, 6]

    def test_events_that_never_find_space_do_not_stop_the_training(self, train, folder, monkeypatch, messages):
        break_call(monkeypatch, "write", "history.jsonl")
        assert train(4)[1].state.iteration == 4
        assert f"The last events are lost: '{folder / 'history.jsonl'}' cannot be" in messages()[-1]
        assert (folder / "history.jsonl").read_bytes() == b""
        monkeypatch.undo()
        train(6)

        assert iterations(folder) == [5, 6]

    def test_events_stop_the_training_by_choice(self, train, folder, monkeypatch):
        break_call(monkeypatch, "write", "history.jsonl")
        with pytest.raises(FileError, match=r"history.jsonl' cannot be read or written: .*No space left on device"):
            train(4, on_error="stop")
        monkeypatch.undo()
        assert train(4)[1].listeners == []

    @pytest.mark.parametrize("on_error", ["", "raise", None, True])
    def test_a_choice_is_needed(self, on_error):
        with pytest.raises(ConfigurationError, match=r"expected on_error to be 'warn' or 'stop', received"):
            Snapshot("snapshots", on_error=on_error)


@pytest.mark.parametrize("name", ["auto_load", "also_load_solver_state"])
@pytest.mark.parametrize("value", [None, "no", 0, 1])
def test_what_is_neither_true_nor_false(folder, name, value):
    with pytest.raises(ConfigurationError, match=f"Snapshot: expected {name} to be a bool .* received {value!r}"):
        Snapshot(folder, **{name: value})
