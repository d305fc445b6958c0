"""`FormatTests`: the test class for file formats. Needs pytest."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pytest

from mocha_core.errors import ConfigurationError, FileError, MochaError, SnapshotError
from mocha_core.net.net import Net
from mocha_core.net.system import System
from mocha_core.testing.backends import ReferenceBackend
from mocha_core.testing.conformance import Conformance
from mocha_core.testing.sample_runs import contents, net_of, train
from mocha_core.train.formats import Format, format_of, load_network, save_network
from mocha_core.train.snapshot import SavedRun

if TYPE_CHECKING:
    from numpy.typing import NDArray

Arrays = dict[str, "NDArray[Any]"]

#: How many bits are flipped, each in a copy of the file.
FLIPS = 200


class FormatTests(Conformance):
    """The requirements on a file format. Subclass it as `Test...`, and name the ending that it is registered for:

        class TestNpz(FormatTests):
            ending = ".npz"

    Loading gives exactly the saved arrays. The same snapshot gives the same bytes. A damaged file is refused, or gives
    the saved arrays, but never others. Writing is all or nothing. A file of another net is refused before its contents
    are read.

    Attributes:
        ending: as registered in `mocha_register_formats`.
        xfail: tests that are known to fail, and why. A format whose networks have no checksum, for example, has
            `{"test_flipped_bits[network]": "networks have no checksum"}`.
    """

    ending: ClassVar[str] = ""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if not cls.ending and cls.__name__.startswith("Test"):
            raise ConfigurationError(f"{cls.__name__}: say which format it tests, such as ending = '.npz'.")

    def arguments(self) -> dict[str, list[Any]]:
        return super().arguments() | {"kind": ["network", "snapshot"], "contents": list(CONTENTS)}

    def path(self, folder: Path, name: str = "file") -> Path:
        """A file of the format."""
        return folder / f"{name}{self.ending}"

    def save(self, kind: str, path: Path, arrays: Arrays | None = None) -> None:
        """Write a network or a snapshot of these arrays."""
        if kind == "network":
            format_of(path).save_network(path, PARAMETERS if arrays is None else arrays)
        else:
            format_of(path).save_snapshot(path, example() if arrays is None else SavedRun(arrays, {}, {}))

    def load(self, kind: str, path: Path) -> SavedRun:
        """Read everything in a network or a snapshot."""
        if kind == "network":
            with format_of(path).open_network(path) as arrays:
                return SavedRun({name: np.array(arrays[name]) for name in arrays}, {}, {})
        with format_of(path).open_snapshot(path) as opened:
            parameters = {name: np.array(array) for name, array in opened.parameters.items()}
            slots = {name: np.array(array) for name, array in opened.slots.items()}
            return SavedRun(parameters, slots, dict(opened.facts))

    def test_registered(self) -> None:
        assert isinstance(format_of(f"file{self.ending}"), Format)
        assert self.ending.startswith(".")
        assert self.ending == self.ending.lower()

    def test_round_trip(self, kind: str, contents: str, tmp_path: Path) -> None:
        path, arrays = self.path(tmp_path), CONTENTS[contents]
        self.save(kind, path, arrays)
        assert_same(self.load(kind, path).parameters, arrays)
        assert [file.name for file in tmp_path.iterdir()] == [path.name]

    def test_a_whole_snapshot(self, tmp_path: Path) -> None:
        path, saved = self.path(tmp_path), example()
        self.save("snapshot", path)
        loaded = self.load("snapshot", path)
        assert_same(loaded.parameters, saved.parameters)
        assert_same(loaded.slots, saved.slots)
        assert_same_facts(loaded.facts, saved.facts)

    def test_shapes_and_dtypes_are_there_before_the_contents(self, kind: str, tmp_path: Path) -> None:
        """Callers compare names, shapes and dtypes with the net's before they read."""
        path, saved = self.path(tmp_path), example()
        self.save(kind, path)
        if kind == "network":
            with format_of(path).open_network(path) as arrays:
                assert_announced(arrays, saved.parameters)
        else:
            with format_of(path).open_snapshot(path) as opened:
                assert_announced(opened.parameters, saved.parameters)
                assert_announced(opened.slots, saved.slots)

    def test_same_contents_same_bytes(self, kind: str, tmp_path: Path) -> None:
        first, second = self.path(tmp_path, "first"), self.path(tmp_path, "second")
        self.save(kind, first)
        self.save(kind, second)
        assert first.read_bytes() == second.read_bytes()

    def test_overwriting(self, kind: str, tmp_path: Path) -> None:
        path = self.path(tmp_path)
        self.save(kind, path, CONTENTS["many"])
        self.save(kind, path, CONTENTS["plain"])
        assert_same(self.load(kind, path).parameters, CONTENTS["plain"])

    def test_missing_file(self, kind: str, tmp_path: Path) -> None:
        with pytest.raises(error_of(kind)) as caught:
            self.load(kind, self.path(tmp_path))
        assert self.path(tmp_path).name in str(caught.value)

    def test_a_folder_in_place_of_a_file(self, kind: str, tmp_path: Path) -> None:
        path = self.path(tmp_path)
        path.mkdir()
        with pytest.raises(FileError) as caught:
            self.load(kind, path)
        assert path.name in str(caught.value)
        with pytest.raises(FileError) as caught:
            self.save(kind, path)
        assert path.name in str(caught.value)
        assert path.is_dir()
        assert list(tmp_path.iterdir()) == [path]

    def test_a_missing_folder(self, kind: str, tmp_path: Path) -> None:
        with pytest.raises(FileError, match="missing"):
            self.save(kind, self.path(tmp_path / "missing"))

    def test_other_files(self, kind: str, tmp_path: Path) -> None:
        path = self.path(tmp_path)
        self.save(kind, path)
        size = path.stat().st_size
        for other in (b"", b"\0", b"{}", b"\x89HDF\r\n\x1a\n", b"PK\x05\x06" + 18 * b"\0", bytes(size), b"\xff" * size):
            path.write_bytes(other)
            with pytest.raises(error_of(kind)) as caught:
                self.load(kind, path)
            assert path.name in str(caught.value)

    def test_truncated_files(self, kind: str, tmp_path: Path) -> None:
        """A file cut at each eighth of its length, and just before its end."""
        path = self.path(tmp_path)
        self.save(kind, path)
        whole = path.read_bytes()
        for length in {len(whole) * i // 8 for i in range(8)} | {len(whole) - 1}:
            self.check_damaged(kind, path, whole[:length], f"cut after {length} of {len(whole)} bytes")

    def test_flipped_bits(self, kind: str, tmp_path: Path) -> None:
        path = self.path(tmp_path)
        self.save(kind, path)
        whole = path.read_bytes()
        for bit in np.random.default_rng(1).permutation(8 * len(whole))[:FLIPS].tolist():
            damaged = bytearray(whole)
            damaged[bit // 8] ^= 1 << bit % 8
            self.check_damaged(kind, path, bytes(damaged), f"bit {bit} of {8 * len(whole)} flipped")

    def test_appended_bytes(self, kind: str, tmp_path: Path) -> None:
        path = self.path(tmp_path)
        self.save(kind, path)
        self.check_damaged(kind, path, path.read_bytes() + b"\0" * 100, "100 bytes appended")

    def check_damaged(self, kind: str, path: Path, contents: bytes, what: str) -> None:
        """A damaged file is refused, or gives what was saved."""
        path.write_bytes(contents)
        saved = example()
        try:
            loaded = self.load(kind, path)
        except FileError as error:
            if kind == "snapshot" and not isinstance(error, SnapshotError):
                raise AssertionError(f"{what}: expected a SnapshotError, received {error!r}.") from error
            check_named(path, error)
            return
        except Exception as error:
            raise AssertionError(f"{what}: expected a {error_of(kind).__name__}, received {error!r}.") from error
        try:
            assert_same(loaded.parameters, saved.parameters)
            if kind == "snapshot":
                assert_same(loaded.slots, saved.slots)
                assert_same_facts(loaded.facts, saved.facts)
        except AssertionError as error:
            raise AssertionError(f"{what}: the file loads, with other contents than were saved. {error}") from error

    def test_writing_is_all_or_nothing(self, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """If any of the calls that write fails, the old file stays, and no other file is left."""
        path = self.path(tmp_path)
        self.save(kind, path, CONTENTS["plain"])
        before, failed = path.read_bytes(), 0
        for name in ("fsync", "replace", "rename", "write"):

            def fail(*_: Any, **__: Any) -> Any:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

            with monkeypatch.context() as patch:
                patch.setattr(os, name, fail)
                try:
                    self.save(kind, path, CONTENTS["many"])
                except FileError as error:
                    failed += 1
                    check_named(path, error)
                    check_bytes(path, before, f"os.{name} failed, and the old file has changed")
            assert [file.name for file in tmp_path.iterdir()] == [path.name], f"os.{name} failed, and left a file"
            path.write_bytes(before)
        assert failed, "the format neither syncs nor renames: a crash while it writes leaves half a file"

    def test_a_network_of_a_net(self, tmp_path: Path) -> None:
        path = self.path(tmp_path)
        with System(ReferenceBackend(), seed=1) as one, System(ReferenceBackend(), seed=2) as two:
            net, other = net_of(one), net_of(two)
            train(net)
            save_network(path, net)
            load_network(path, other)
            assert_same(model(other), model(net))

    def test_a_network_of_another_net_changes_nothing(self, tmp_path: Path) -> None:
        path = self.path(tmp_path)
        with System(ReferenceBackend(), seed=1) as system:
            net = net_of(system)
            arrays = contents(net)
            for wrong in (
                {name: array for name, array in arrays.items() if name != "scores___weight"},
                arrays | {"scores___weight": np.zeros((2, 2))},
            ):
                self.save("network", path, {name: array + 1 for name, array in wrong.items()})
                with pytest.raises(MochaError, match="scores___weight"):
                    load_network(path, net)
                assert_same(contents(net), arrays)

    def test_names_that_a_file_cannot_hold(self, kind: str, tmp_path: Path) -> None:
        """A name is kept unchanged, or refused without leaving a file."""
        for name in ("", ".", "..", "a/b", "/a", "a//b", "a\0b", "naïve", "層___filter", "x" * 5000):
            path, arrays = self.path(tmp_path), {name: np.ones(3), "other": np.zeros(2)}
            try:
                self.save(kind, path, arrays)
            except FileError as error:
                check_named(path, error)
                if list(tmp_path.iterdir()):
                    raise AssertionError(f"the name {name!r} was refused, and left a file") from error
                continue
            assert_same(self.load(kind, path).parameters, arrays)
            path.unlink()


def _contents() -> Mapping[str, Arrays]:
    random = np.random.default_rng(1)
    special = [np.inf, -np.inf, np.nan, -0.0, 5e-324]
    return {
        "plain": {"ip___weight": random.standard_normal((3, 4)), "ip___bias": random.standard_normal(4)},
        "float32": {"ip___weight": random.standard_normal((3, 4)).astype(np.float32)},
        "both dtypes": {"a___w": np.ones(3, np.float32), "b___w": np.full(3, 1 / 3)},
        "without axes": {"a___scale": np.asarray(0.1), "b___scale": np.asarray(0.1, np.float32)},
        "ones and many axes": {"a___w": random.standard_normal((1, 2, 1, 3, 1, 2)), "b___w": np.ones((1,))},
        "special values": {"a___w": np.array(special), "b___w": np.array(special[:-1], np.float32)},
        "large": {"a___w": random.standard_normal((512, 1024)).astype(np.float32)},
        "many": {f"layer {i}___w": np.full((i % 5 + 1,), float(i)) for i in range(500)},
        "names": {"Ünïcode Γ___w": np.ones(1), "with space___w": np.zeros(1), "a.b-c___w_2": np.full(1, 2.0)},
        "other layouts": {"a___w": np.asfortranarray(random.standard_normal((3, 4))), "b___w": np.arange(9.0)[::-2]},
        "nothing": {},
    }


CONTENTS = _contents()


def _parameters() -> Arrays:
    random = np.random.default_rng(2)
    return {
        "conv1___filter": random.standard_normal((4, 2, 3, 3)).astype(np.float32),
        "conv1___bias": random.standard_normal(4).astype(np.float32),
        "ip___weight": random.standard_normal((3, 5)),
        "ip___scale": np.asarray(0.1),
    }


PARAMETERS = _parameters()


def example() -> SavedRun:
    """A snapshot with all kinds of contents."""
    slots = {f"velocity/{name}": array * 2 for name, array in PARAMETERS.items()}
    facts = {
        "iteration": 500, "objective": float("nan"), "learning_rate": 0.1, "momentum": 1 / 3, "seed": 2**63,
        "dtype": "float32", "solver": "SGD", "cursors": {"train data": 32000, "ünïcode": 2**40},
    }  # fmt: skip
    return SavedRun(dict(PARAMETERS), slots, facts)


def check_named(path: Path, error: Exception) -> None:
    """Raise unless an error names the file."""
    if path.name not in str(error):
        raise AssertionError(f"expected an error that names '{path.name}', received {error!r}.") from error


def check_bytes(path: Path, expected: bytes, what: str) -> None:
    """Raise unless a file holds the expected bytes."""
    if path.read_bytes() != expected:
        raise AssertionError(f"{what}.")


def error_of(kind: str) -> type[FileError]:
    """The class of error that reading a broken file raises."""
    return SnapshotError if kind == "snapshot" else FileError


def model(net: Net) -> Arrays:
    """The arrays of a net in a network's file: all except per-row states."""
    return {key: array for key, array in contents(net).items() if not net.states[key].per_row}


def assert_same(found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Raise unless both hold the same arrays: names, shapes, dtypes and bits."""
    assert set(found) == set(expected)
    for name, array in expected.items():
        one, other = np.asarray(found[name]), np.asarray(array)
        same = (one.shape, one.dtype) == (other.shape, other.dtype) and one.tobytes() == other.tobytes()
        assert same, f"'{name}' is {one!r}, expected {other!r}"


def assert_same_facts(found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Raise unless the facts are equal; a NaN equals a NaN."""
    assert {k: repr(v) for k, v in found.items()} == {k: repr(v) for k, v in expected.items()}


def assert_announced(found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Raise unless names, shapes and dtypes equal those of the arrays."""
    announced = {name: (tuple(array.shape), np.dtype(array.dtype)) for name, array in found.items()}
    assert announced == {name: (array.shape, array.dtype) for name, array in expected.items()}
