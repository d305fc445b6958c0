"""manifest.json: whose snapshots a folder holds."""

import dataclasses
import json
import os
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from importlib.metadata import version

import pytest
from mocha_solvers_std.manifest import Manifest

import mocha_core as mocha
from mocha_core.coffee import Snapshot
from mocha_core.errors import SnapshotError
from mocha_core.solvers import SGD


@pytest.fixture
def folder(tmp_path):
    return tmp_path


@pytest.fixture
def train(toy, folder):
    def train(max_iter, seed=3, dtype="float64", break_=None, every=2, **options):
        with mocha.System(toy.NumPy(), dtype=dtype, seed=seed) as system:
            solver = SGD(toy.parameters(max_iter))
            solver.add_coffee_break(break_ or Snapshot(folder, **options), every_n_iter=every)
            solver.solve(toy.regression(system).net)
            return solver

    return train


def read(folder):
    return json.loads((folder / "manifest.json").read_text())


def iterations(folder):
    return [entry["iteration"] for entry in read(folder)["snapshots"]]


def damage(path, at=-1):
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def test_what_it_says(train, folder, toy):
    before = datetime.now(UTC) - timedelta(seconds=1)
    solver = train(4)
    manifest = read(folder)
    assert len(manifest.pop("run")) == 16
    assert before <= datetime.fromisoformat(manifest.pop("created")) <= datetime.now(UTC)
    versions = manifest.pop("versions")
    assert {name: versions[name] for name in ("mocha-core", "mocha-solvers-std")} == {
        name: version(name) for name in ("mocha-core", "mocha-solvers-std")
    }
    *_, last = entries = manifest.pop("snapshots")
    assert last["objective"] == solver.state.objective
    for entry, iteration in zip(entries, (2, 4), strict=True):
        content = (folder / f"snapshot-{iteration:06d}.hdf5").read_bytes()
        expected = {"bytes": len(content), "sha256": sha256(content).hexdigest(), "iteration": iteration}
        assert entry == {"name": f"snapshot-{iteration:06d}.hdf5", "objective": entry["objective"], **expected}
    surroundings = {"backend": toy.NumPy.name, "dtype": "float64", "seed": 3, "solver": "SGD"}
    assert manifest == {**surroundings, "removing": [], "earlier": []}


def test_a_resumed_run_keeps_its_identity_and_a_new_one_has_its_own(train, folder):
    train(2)
    first = read(folder)
    train(4)
    second = read(folder)
    assert (second["run"], second["created"]) == (first["run"], first["created"])
    assert iterations(folder) == [2, 4]
    train(2, auto_load=False)
    third = read(folder)
    assert third["run"] != first["run"]
    assert iterations(folder) == [2]
    train(3, also_load_solver_state=False)
    assert read(folder)["run"] not in (first["run"], third["run"])


def test_solving_again_is_the_same_run(toy, folder, system):
    part, solver = toy.regression(system), SGD(toy.parameters(2))
    solver.add_coffee_break(Snapshot(folder), every_n_iter=2)
    solver.solve(part.net)
    run = read(folder)["run"]
    solver.parameters = toy.parameters(4)
    solver.solve(part.net)
    assert read(folder)["run"] == run
    assert iterations(folder) == [2, 4]


def test_snapshots_of_an_earlier_run_are_named(train, folder, messages):
    train(4)
    messages()
    train(2, auto_load=False)
    expected = f"'{folder}' holds 2 snapshots of an earlier run, up to snapshot-000004.hdf5. They stay; this run"
    assert any(line.startswith(expected) for line in messages())
    assert read(folder)["earlier"] == ["snapshot-000004.hdf5"]


def test_a_run_does_not_go_on_from_an_earlier_run_of_higher_iterations(train, folder, messages):
    train(6)
    begun_anew = train(2, auto_load=False)
    messages()
    resumed = train(4)
    lines = messages()
    assert "snapshot-000006.hdf5 is of an earlier run, and is not loaded" in lines
    assert any("Auto-loading" in line and "snapshot-000002.hdf5" in line for line in lines)
    assert resumed.state.iteration == 4
    assert begun_anew.state.iteration == 2
    assert iterations(folder) == [2, 4]
    assert read(folder)["earlier"] == ["snapshot-000006.hdf5"]
    train(6)
    assert read(folder)["earlier"] == []
    assert iterations(folder) == [2, 4, 6]


def test_a_missing_snapshot_is_named(train, folder, messages):
    train(6)
    (folder / "snapshot-000002.hdf5").unlink()
    (folder / "snapshot-000006.hdf5").unlink()
    messages()
    assert train(4).state.iteration == 4
    lines = messages()
    for name in ("snapshot-000002.hdf5", "snapshot-000006.hdf5"):
        assert f"{name} is missing, though the manifest lists it." in lines
    assert iterations(folder) == [4]


def test_a_snapshot_of_another_size_is_named_though_it_is_not_loaded(train, folder, messages):
    train(4)
    path = folder / "snapshot-000002.hdf5"
    size = path.stat().st_size
    path.write_bytes(b"short")
    messages()
    train(4)
    assert f"{path.name} is damaged: it has 5 bytes, manifest.json says {size}. Delete it." in messages()
    assert iterations(folder) == [4]


def test_a_snapshot_that_was_replaced_by_a_complete_one_is_named_and_used(train, folder, messages, tmp_path_factory):
    train(4)
    other = tmp_path_factory.mktemp("other")
    train(4, break_=Snapshot(other), seed=5)
    (folder / "snapshot-000004.hdf5").write_bytes((other / "snapshot-000004.hdf5").read_bytes())
    messages()
    assert train(4).state.iteration == 4
    expected = "snapshot-000004.hdf5 is complete, but not the one that manifest.json lists: it was replaced (SHA-256"
    assert any(line.startswith(expected) for line in messages())


def test_a_snapshot_that_is_not_listed_is_used_and_said_to_be_so(train, folder, messages):
    train(4)
    before = (folder / "manifest.json").read_bytes()
    run = read(folder)["run"]
    train(6)
    (folder / "manifest.json").write_bytes(before)  # as if killed between the two writes
    messages()
    assert train(6).state.iteration == 6
    expected = "snapshot-000006.hdf5 is complete, but not in manifest.json: it was copied there, is of"
    assert any(line.startswith(expected) for line in messages())
    assert read(folder)["run"] == run
    assert iterations(folder) == [2, 4, 6]


BROKEN = {
    "empty": b"",
    "half": b'{"run": "0123',
    "not text": b"\xff\xfe\x00",
    "list": b"[]",
    "nothing in it": b"{}",
    "deep": b"[" * 100_000,
    "long number": b'{"run": ' + b"9" * 5_000 + b"}",
}


@pytest.mark.parametrize("content", [None, *BROKEN.values()], ids=["missing", *BROKEN])
def test_a_broken_manifest_is_named_and_rebuilt(train, folder, messages, content):
    train(6)
    before = read(folder)
    path = folder / "manifest.json"
    path.unlink() if content is None else path.write_bytes(content)
    train(4, break_=Snapshot(folder / "foreign"), seed=4)
    (folder / "foreign" / "snapshot-000002.hdf5").rename(folder / "snapshot-000003.hdf5")  # of another run
    damage(folder / "snapshot-000002.hdf5")
    messages()
    assert train(6).state.iteration == 6
    lines = messages()
    expected = f"'{path}' is missing." if content is None else f"'{path}' is damaged ("
    (named,) = (line for line in lines if line.startswith(expected))
    assert named.endswith("It is made anew from the snapshots.")
    assert any(line.startswith("snapshot-000002.hdf5 is not listed: ") for line in lines)
    assert read(folder)["snapshots"] == before["snapshots"][1:]


def test_a_manifest_that_is_no_file(train, folder, messages):
    (folder / "manifest.json").mkdir()
    with pytest.raises(mocha.MochaError, match=r"manifest.json' \([\d,]+ bytes\) cannot be written: Is a directory"):
        train(2)
    assert f"'{folder / 'manifest.json'}' cannot be read: Is a directory. It is made anew" in messages()[1]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("run", 3), ("seed", "3"), ("seed", True), ("versions", []), ("versions", {"a": 1}), ("snapshots", 5),
        ("snapshots", [5]), ("snapshots", [{}]), ("removing", None),
    ],
)  # fmt: skip
def test_a_field_of_another_kind_is_damage(train, folder, field, value):
    train(2)
    manifest = read(folder)
    (folder / "manifest.json").write_text(json.dumps(manifest | {field: value}))
    with pytest.raises(mocha.MochaError, match="is damaged"):
        Manifest.read(folder)
    del manifest[field]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(mocha.MochaError, match="is damaged"):
        Manifest.read(folder)


@pytest.mark.parametrize("name", ["../precious.hdf5", "/etc/passwd", "manifest.json", "snapshot-000002.hdf5/../x", ""])
def test_a_manifest_cannot_have_other_files_deleted(train, folder, name):
    train(2)
    precious = folder.parent / "precious.hdf5"
    precious.write_bytes(b"x")
    manifest = read(folder)
    victim = {"name": name, "iteration": 1, "bytes": 1, "sha256": sha256(b"x").hexdigest(), "objective": None}
    (folder / "manifest.json").write_text(json.dumps(manifest | {"removing": [victim]}))
    train(2)
    assert precious.exists()
    assert read(folder)["removing"] == []


def test_an_objective_that_is_not_finite_is_null(train, folder):
    solver = train(2)
    solver.state = dataclasses.replace(solver.state, objective=float("nan"))
    facts = vars(solver.state)
    from mocha_solvers_std.manifest import Entry

    assert Entry.of(folder / "snapshot-000002.hdf5", facts).objective is None


def test_a_snapshot_of_another_net_leaves_the_manifest_alone(train, folder, toy):
    train(2)
    before = (folder / "manifest.json").read_bytes()
    with mocha.System(toy.NumPy(), dtype="float64") as system:
        solver = SGD(toy.parameters(4))
        solver.add_coffee_break(Snapshot(folder), every_n_iter=2)
        with pytest.raises(SnapshotError, match="another net"):
            solver.solve(toy.regression(system, features=5).net)
    assert (folder / "manifest.json").read_bytes() == before
    assert sorted(os.listdir(folder)) == [".lock", "history.jsonl", "manifest.json", "snapshot-000002.hdf5"]
