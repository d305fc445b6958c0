"""Snapshot(keep=...): which snapshots are deleted, and when."""

import errno
import os

import pytest
from run_folders import damage, everything, listed

import mocha_core as mocha
from mocha_core.coffee import Snapshot
from mocha_core.errors import ConfigurationError
from mocha_core.solvers import SGD


def test_the_newest_are_kept(train, folder, messages):
    train(9, every=2, keep=2)
    assert sorted(os.listdir(folder)) == everything(8, 9)
    assert listed(folder) == [8, 9]
    assert [line for line in messages() if "Removing" in line] == [
        f"Removing snapshot-{i:06d}.hdf5: 2 snapshots are kept" for i in (2, 4, 6)
    ]
    train(12, every=4, keep=1)
    assert sorted(os.listdir(folder)) == everything(12)


def test_numbers_count_as_numbers(train, folder, toy):
    with mocha.System(toy.NumPy(), dtype="float64", seed=3) as system:
        part, solver = toy.regression(system), SGD(toy.parameters(1_000_001))
        solver.state.iteration = 999_997
        solver.add_coffee_break(Snapshot(folder, keep=2), every_n_iter=1)
        solver.solve(part.net)
    assert sorted(path.name for path in folder.glob("snapshot-*")) == [
        "snapshot-1000000.hdf5", "snapshot-1000001.hdf5",
    ]  # fmt: skip
    assert train(1, keep=2)[1].state.iteration == 1_000_001


def test_what_others_left_is_never_removed(train, folder):
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


def test_a_file_that_cannot_be_deleted_is_tried_again(train, folder, monkeypatch, messages):
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


def test_a_deletion_that_a_kill_prevented_is_made_up_for(train, folder, monkeypatch):
    train(4)
    old = (folder / "snapshot-000002.hdf5").read_bytes()
    train(6, keep=2)
    assert sorted(os.listdir(folder)) == everything(4, 6)
    (folder / "snapshot-000002.hdf5").write_bytes(old)
    train(6)
    assert sorted(os.listdir(folder)) == everything(4, 6)


def test_a_deletion_that_was_due_gives_way_to_the_only_complete_one(train, folder):
    train(4)
    old = (folder / "snapshot-000002.hdf5").read_bytes()
    train(6, keep=2)
    (folder / "snapshot-000002.hdf5").write_bytes(old)
    for name in ("snapshot-000004.hdf5", "snapshot-000006.hdf5"):
        damage(folder / name)
    assert train(2)[1].state.iteration == 2
    assert listed(folder) == [2]
    assert (folder / "snapshot-000002.hdf5").read_bytes() == old


def test_another_file_of_the_name_of_a_deleted_one_stays(train, folder):
    train(6, keep=2)
    (folder / "snapshot-000002.hdf5").write_text("copied here by somebody")
    train(6)
    assert (folder / "snapshot-000002.hdf5").read_text() == "copied here by somebody"


@pytest.mark.parametrize("keep", [0, -1, 1.5, "2", True])
def test_a_number_is_needed(keep):
    with pytest.raises(ConfigurationError, match=r"Snapshot: expected keep to be an integer >= 1, received"):
        Snapshot("snapshots", keep=keep)
