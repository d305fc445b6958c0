"""A folder is that folder: wherever the program goes meanwhile, and where its name begins with ~."""

import os
import re
import shutil
from pathlib import Path

import pytest

import mocha_core as mocha
from mocha_core.coffee import Snapshot, TrainingSummary
from mocha_core.errors import FileError
from mocha_core.host.files import absolute
from mocha_core.plugin.new_plugin import write_plugin
from mocha_core.solvers import SGD
from mocha_core.train.coffee_break import CoffeeBreak


class Goes(CoffeeBreak):
    """Changes the working directory at iteration 2."""

    def __init__(self, to):
        self.to = to

    def enjoy(self, solver, net):
        if solver.state.iteration == 2:
            os.chdir(self.to)


@pytest.fixture
def places(tmp_path, monkeypatch):
    """Two folders, of which the first is the working directory, and a home."""
    for name in ("here", "there", "home"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    return tmp_path


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def train(system, toy, snapshot, to, max_iter=4):
    solver = SGD(toy.parameters(max_iter))
    for coffee in (TrainingSummary(), Goes(to), snapshot):
        solver.add_coffee_break(coffee, every_n_iter=1)
    solver.solve(toy.regression(system).net)
    return solver


RUN = [".lock", "history.jsonl", "manifest.json", *(f"snapshot-{i:06d}.hdf5" for i in range(1, 5))]


@pytest.mark.parametrize("given", ["run", Path("run"), "./a/../run"])
def test_a_run_stays_in_its_folder(system, toy, places, given):
    (places / "here" / "a").mkdir()
    (places / "there" / "run").mkdir()
    train(system, toy, Snapshot(given), places / "there")
    assert files(places / "here") == [f"run/{name}" for name in RUN]
    assert files(places / "there") == []
    assert len((places / "here" / "run" / "history.jsonl").read_text().splitlines()) == 4


def test_another_run_of_that_name_elsewhere_is_not_overwritten(system, toy, places):
    os.chdir(places / "there")
    train(system, toy, Snapshot("run"), places / "there")
    before = {path: path.read_bytes() for path in (places / "there").rglob("*.hdf5")}
    os.chdir(places / "here")
    train(system, toy, Snapshot("run"), places / "there", max_iter=5)
    assert {path: path.read_bytes() for path in (places / "there").rglob("*.hdf5")} == before
    assert "run/snapshot-000005.hdf5" in files(places / "here")


def test_a_second_solve_goes_on_in_the_same_folder(system, toy, places):
    part, snapshot = toy.regression(system), Snapshot("run")
    solver = SGD(toy.parameters(2))
    solver.add_coffee_break(snapshot, every_n_iter=1)
    solver.solve(part.net)
    os.chdir(places / "there")
    solver.parameters = toy.parameters(4)
    solver.solve(part.net)
    assert files(places / "here") == [f"run/{name}" for name in RUN]
    assert files(places / "there") == []


def test_the_home_folder(system, toy, places):
    train(system, toy, Snapshot("~/run"), places / "there")
    net = toy.regression(system).net
    mocha.save_network("~/net.hdf5", net)
    mocha.load_network("~/net.hdf5", net)
    assert files(places / "home") == ["net.hdf5", *(f"run/{name}" for name in RUN)]
    assert files(places / "here") == []
    assert write_plugin("acme-swish", Path("~/plugins")) == places / "home" / "plugins" / "acme-swish"


def test_a_home_or_a_working_directory_that_is_not_there(places):
    with pytest.raises(FileError, match=r"'~nobody-at-all/run' cannot be expanded: .* Give an absolute path"):
        Snapshot("~nobody-at-all/run")
    with pytest.raises(FileError, match=r"'~nobody-at-all/net.hdf5' cannot be expanded"):
        mocha.load_network("~nobody-at-all/net.hdf5", None)
    shutil.rmtree(places / "here")
    with pytest.raises(FileError, match=r"'run': the working directory is gone. Give an absolute path"):
        Snapshot("run")
    assert absolute(places / "there") == places / "there"


class Changes(Goes):
    """Does something to the folders at iteration 2."""

    def enjoy(self, solver, net):
        if solver.state.iteration == 2:
            self.to()


@pytest.fixture
def changing(system, toy, monkeypatch):
    """Trains, while the folders are changed."""
    monkeypatch.setitem(train.__globals__, "Goes", Changes)
    return lambda snapshot, change: train(system, toy, snapshot, change)


def test_a_symbolic_link_that_leads_elsewhere_later(changing, places):
    """As `latest`, which a second run points to its own folder."""
    for name in ("one", "two"):
        (places / name).mkdir()
    link = places / "latest"
    link.symlink_to(places / "one")

    def change():
        link.unlink()
        link.symlink_to(places / "two")

    changing(Snapshot(link), change)
    assert files(places / "one") == RUN
    assert files(places / "two") == []


@pytest.mark.parametrize("again", [True, False])
def test_a_folder_that_is_moved_or_replaced_is_said_and_not_written_to(changing, places, again, caplog):
    def change():
        (places / "run").rename(places / "moved")
        if again:
            (places / "run").mkdir()

    changing(Snapshot(places / "run"), change)
    assert files(places / "moved") == [*RUN[:3], "snapshot-000001.hdf5"]
    assert files(places / "run") == []
    message = rf"Iteration 4 could not be saved: Folder '{places / 'run'}' was moved, removed or replaced .*Move it"
    assert any(re.search(message, record.getMessage()) for record in caplog.records)


@pytest.mark.parametrize("path", ["a\0b.hdf5", "x" * 5000 + ".hdf5", "y" * 300 + ".hdf5"])
def test_names_that_no_folder_takes(system, toy, places, path):
    net = toy.regression(system).net
    uses = (
        lambda: mocha.save_network(path, net), lambda: mocha.load_network(path, net),
        lambda: train(system, toy, Snapshot(path), places),
    )  # fmt: skip
    for use in uses:
        with pytest.raises(FileError) as caught:
            use()
        assert len(str(caught.value)) < 300 + 300


@pytest.mark.skipif(os.name == "nt", reason="Windows removes no working directory")
def test_a_working_directory_that_is_gone(system, toy, places):
    net = toy.regression(system).net
    mocha.save_network("net.hdf5", net)
    shutil.move(places / "here" / "net.hdf5", places)
    (places / "here").rmdir()
    with pytest.raises(FileError, match="working directory is gone"):
        mocha.load_network("net.hdf5", net)
    mocha.load_network(places / "net.hdf5", net)
