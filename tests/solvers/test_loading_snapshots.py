"""Snapshot: which one a run loads, which it skips, and which it refuses."""

import os
from contextlib import contextmanager

import pytest
from mocha_hdf5.format import HDF5Format
from run_folders import damage, listed

import mocha_core as mocha
from mocha_core.coffee import Snapshot
from mocha_core.errors import FileError, SnapshotError
from mocha_core.solvers import SGD
from mocha_core.train.solver import Solver


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
