"""HDF5Format: Mocha's flat files, and snapshots that are whole or refused."""

import ast
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from mocha_hdf5.format import HDF5Format

from mocha_core.errors import FileError, SnapshotError
from mocha_core.train.formats import format_of
from mocha_core.train.snapshot import SavedRun

FORMAT = HDF5Format()
ARRAYS = {
    "conv1___filter": np.arange(24, dtype="float32").reshape(2, 1, 3, 4),
    "conv1___bias": np.array([0.5, -1.5]),
    "group/ip1___weight": np.asfortranarray(np.arange(6, dtype="float32").reshape(2, 3)),
    "norm___count": np.array(3.0),
    "nothing": np.zeros((0, 2)),
}
FACTS = {
    "iteration": 12,
    "objective": math.nan,
    "learning_rate": 0.1 + 0.2,
    "momentum": math.inf,
    "seed": 2**63,
    "dtype": "float32",
    "solver": "SGD",
    "cursors": {"données": 128},
}


def snapshot():
    slots = {f"velocity/{key}": -array for key, array in ARRAYS.items()}
    return SavedRun(dict(ARRAYS), slots, dict(FACTS))


def same(found, expected):
    assert set(found) == set(expected)
    for key, array in expected.items():
        assert (found[key].dtype, found[key].shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(found[key], array)


def load_network(path):
    with FORMAT.open_network(path) as arrays:
        return {key: np.array(array) for key, array in arrays.items()}


def load_snapshot(path):
    with FORMAT.open_snapshot(path) as found:
        arrays = ({key: np.array(array) for key, array in group.items()} for group in (found.parameters, found.slots))
        return SavedRun(*arrays, found.facts)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "snapshot-000012.hdf5"


@pytest.fixture
def saved(path):
    FORMAT.save_snapshot(path, snapshot())
    return path


def test_both_endings_are_registered():
    assert isinstance(format_of(Path("a.hdf5")), HDF5Format)
    assert isinstance(format_of(Path("a.H5")), HDF5Format)


def test_a_network_is_flat_and_in_c_order(tmp_path):
    FORMAT.save_network(tmp_path / "net.h5", ARRAYS)
    with h5py.File(tmp_path / "net.h5") as file:
        assert sorted(file) == ["conv1___bias", "conv1___filter", "group", "norm___count", "nothing"]
        assert file["conv1___filter"].shape == (2, 1, 3, 4)
        assert file["conv1___filter"][1, 0, 2].tolist() == [20, 21, 22, 23]
        assert file["group/ip1___weight"][:].tolist() == [[0, 1, 2], [3, 4, 5]]
    same(load_network(tmp_path / "net.h5"), ARRAYS)


def test_what_is_no_parameter_in_a_network_file_does_no_harm(tmp_path):
    with h5py.File(tmp_path / "net.h5", "w") as file:
        file["ip1___weight"] = np.ones((2, 2))
        file["comment"] = "from elsewhere"
        file["alias"] = h5py.SoftLink("/ip1___weight")
        file["round"] = file["/"]
    with FORMAT.open_network(tmp_path / "net.h5") as arrays:
        assert list(arrays) == ["comment", "ip1___weight"]
        np.testing.assert_array_equal(arrays["ip1___weight"], np.ones((2, 2)))
        assert arrays.get("nothing") is None


def test_the_parameters_of_a_snapshot_load_as_a_network(saved):
    same(load_network(saved), ARRAYS)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, r"net.h5' does not exist"),
        (lambda path: path.write_text("weights"), r"net.h5' is not an HDF5 file"),
        (lambda path: path.mkdir(), r"net.h5' cannot be read: it is a folder"),
    ],
)
def test_loading_no_network(tmp_path, make, message):
    make(tmp_path / "net.h5")
    with pytest.raises(FileError, match=message):
        load_network(tmp_path / "net.h5")


def test_loading_a_truncated_network(tmp_path):
    path = tmp_path / "net.h5"
    FORMAT.save_network(path, ARRAYS)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(FileError, match=r"net.h5': cannot be opened: .* The file is damaged"):
        load_network(path)


def test_saving_into_a_missing_folder(tmp_path):
    with pytest.raises(FileError, match=r"'.*missing/net.h5' .* cannot be written"):
        FORMAT.save_network(tmp_path / "missing" / "net.h5", ARRAYS)


@pytest.mark.parametrize("name", ["", "a//b", "./a", "a/", "a\0b"])
def test_names_that_hdf5_does_not_keep(tmp_path, name):
    with pytest.raises(FileError, match=r"HDF5 has no dataset named .* Rename the layer"):
        FORMAT.save_network(tmp_path / "net.h5", {name: np.zeros(1)})
    assert os.listdir(tmp_path) == []


def test_a_name_that_is_also_a_folder(tmp_path):
    with pytest.raises(FileError, match=r"net.h5' cannot be written"):
        FORMAT.save_network(tmp_path / "net.h5", {"a": np.zeros(1), "a/b": np.zeros(1)})
    assert os.listdir(tmp_path) == []


def test_a_snapshot_comes_back(saved):
    loaded = load_snapshot(saved)
    same(loaded.parameters, ARRAYS)
    same(loaded.slots, {f"velocity/{key}": -array for key, array in ARRAYS.items()})
    assert math.isnan(loaded.facts.pop("objective"))
    assert loaded.facts == {key: value for key, value in FACTS.items() if key != "objective"}


def test_a_snapshot_without_slots_comes_back(path):
    FORMAT.save_snapshot(path, SavedRun({}, {}, {"iteration": 1}))
    assert load_snapshot(path) == SavedRun({}, {}, {"iteration": 1})


def test_other_tools_read_a_snapshot(saved):
    with h5py.File(saved) as file:
        assert file.userblock_size == 512
        assert file["parameters/conv1___bias"][:].tolist() == [0.5, -1.5]
        assert file["slots/velocity/conv1___bias"][:].tolist() == [-0.5, 1.5]


def test_equal_snapshots_are_equal_bytes_in_every_process_and_order(saved, tmp_path):
    other = tmp_path / "other.hdf5"
    given = snapshot()
    given.parameters = dict(reversed(given.parameters.items()))
    given.facts = dict(reversed(given.facts.items()))
    FORMAT.save_snapshot(other, given)
    assert other.read_bytes() == saved.read_bytes()
    program = (
        "import sys, time; from pathlib import Path; from mocha_hdf5 import HDF5Format\n"
        "time.sleep(1.1)\n"
        "with HDF5Format().open_snapshot(Path(sys.argv[1])) as snapshot:\n"
        "    HDF5Format().save_snapshot(Path(sys.argv[2]), snapshot)"
    )
    subprocess.run([sys.executable, "-c", program, saved, tmp_path / "third.hdf5"], check=True)
    assert (tmp_path / "third.hdf5").read_bytes() == saved.read_bytes()


def test_a_network_is_equal_bytes_too(tmp_path):
    for name, arrays in (("a.h5", ARRAYS), ("b.h5", dict(reversed(ARRAYS.items())))):
        FORMAT.save_network(tmp_path / name, arrays)
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_no_byte_of_a_snapshot_can_change_unnoticed(saved):
    content = saved.read_bytes()
    for position in [*range(0, 600, 7), *range(600, len(content), 97), len(content) - 1]:
        changed = bytearray(content)
        changed[position] ^= 0x10
        saved.write_bytes(changed)
        with pytest.raises(SnapshotError, match=r"snapshot-000012.hdf5' is (not a snapshot|incomplete or dam)"):
            load_snapshot(saved)


def test_no_end_of_a_snapshot_can_be_missing_unnoticed(saved):
    content = saved.read_bytes()
    for length in [0, 1, 100, 511, 512, 513, len(content) // 2, len(content) - 1]:
        saved.write_bytes(content[:length])
        with pytest.raises(SnapshotError, match=r"snapshot-000012.hdf5' is (not a snapshot|incomplete or dam)"):
            load_snapshot(saved)
    saved.write_bytes(content + b"\0")
    with pytest.raises(SnapshotError, match=r"is incomplete or damaged"):
        load_snapshot(saved)


def test_the_hdf5_library_never_sees_a_damaged_snapshot(saved, monkeypatch):
    opened = []
    monkeypatch.setattr(h5py, "File", lambda *a, **k: opened.append(a))
    content = bytearray(saved.read_bytes())
    content[700] ^= 1
    saved.write_bytes(content)
    with pytest.raises(SnapshotError):
        load_snapshot(saved)
    assert opened == []


def test_missing_and_other_files_are_no_snapshots(path):
    with pytest.raises(SnapshotError, match=r"snapshot-000012.hdf5' does not exist"):
        load_snapshot(path)
    FORMAT.save_network(path, ARRAYS)
    with pytest.raises(SnapshotError, match=r"snapshot-000012.hdf5' is not a snapshot"):
        load_snapshot(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(FileError, match=r"snapshot-000012.hdf5' cannot be read: it is a folder"):
        load_snapshot(path)


def test_a_crash_before_the_renaming_leaves_the_old_snapshot(saved, monkeypatch):
    content = saved.read_bytes()

    def crash(*_):
        raise OSError("no space left")

    monkeypatch.setattr(os, "replace", crash)
    changed = snapshot()
    changed.facts["iteration"] = 13
    with pytest.raises(FileError, match=r"snapshot-000012.hdf5' .* cannot be written: no space left"):
        FORMAT.save_snapshot(saved, changed)
    assert saved.read_bytes() == content
    assert os.listdir(saved.parent) == [saved.name]


def test_only_the_reader_and_the_writer_open_hdf5_files():
    root = Path(__file__).parents[2]
    folders = ["mocha_core", "plugins", "examples", "benchmarks", "tools", "docs"]
    sources = [path for folder in folders for path in (root / folder).rglob("*.py") if ".venv" not in path.parts]
    assert len(sources) > 100
    opening = re.compile(r"h5py\s*\.\s*(File|h5f)\b|from\s+h5py|import\s+h5py\s+as|h5py\._hl|getattr\(h5py")
    openers = {path.relative_to(root).as_posix() for path in sources if opening.search(path.read_text("utf-8"))}
    folder = "plugins/mocha_hdf5/src/mocha_hdf5"
    shown = f"{folder}/caffe.py"  # in the text of an error
    openers.remove(shown)
    imported = [node for node in ast.walk(ast.parse((root / shown).read_text("utf-8"))) if isinstance(node, ast.Import)]
    assert [name.name for node in imported for name in node.names] == ["re"]
    assert openers == {*(f"{folder}/{name}.py" for name in ("reader", "scratch", "writer")), "benchmarks/data.py"}
    scratch = (root / folder / "scratch.py").read_text("utf-8")
    assert opening.findall(scratch) == ["File"]
    assert 'h5py.File(name, "w", driver="core", backing_store=False' in scratch
    reader = (root / folder / "reader.py").read_text("utf-8")
    assert opening.findall(reader) == ["File"]
    assert 'h5py.File(self._stream, "r"' in reader
