"""`FormatTests` notices what it is for: one format is sound, and each of the others has one fault."""

import json
import os
import time
from contextlib import contextmanager
from hashlib import sha256

import numpy as np
import pytest

from mocha_core import hookimpl
from mocha_core.errors import ConfigurationError, FileError, SnapshotError
from mocha_core.host.files import write_file
from mocha_core.testing import FormatTests
from mocha_core.train.formats import Format
from mocha_core.train.snapshot import SavedRun


class Sound(Format):
    """A digest, a line of JSON with names, dtypes and shapes, and the arrays' bytes."""

    def save_network(self, path, arrays):
        self.save(path, {"arrays": arrays}, {})

    def save_snapshot(self, path, snapshot):
        self.save(path, {"arrays": snapshot.parameters, "slots": snapshot.slots}, snapshot.facts)

    def save(self, path, groups, facts):
        head = {group: {name: [str(a.dtype), a.shape] for name, a in sorted(g.items())} for group, g in groups.items()}
        body = json.dumps([head, facts, self.stamp()], sort_keys=True).encode() + b"\n"
        body += b"".join(g[name].tobytes() for g in groups.values() for name in sorted(g))
        self.write(path, sha256(body).digest() + body)

    def stamp(self):
        return 0

    def write(self, path, contents):
        write_file(path, contents)

    @contextmanager
    def open_network(self, path):
        yield self.load(path, FileError)[0]["arrays"]

    @contextmanager
    def open_snapshot(self, path):
        groups, facts = self.load(path, SnapshotError)
        yield SavedRun(groups["arrays"], groups["slots"], facts)

    def load(self, path, error):
        try:
            contents = path.read_bytes()
        except OSError as cause:
            raise error(f"'{path}' cannot be read: {cause}") from cause
        digest, body = contents[:32], contents[32:]
        if not self.intact(digest, body):
            raise error(f"'{path}' is damaged.")
        line, _, rest = body.partition(b"\n")
        head, facts, _ = json.loads(line)
        groups, at = {}, 0
        for group, names in head.items():
            groups[group] = {}
            for name, (dtype, shape) in names.items():
                array = np.frombuffer(rest, dtype, int(np.prod(shape)), at).reshape(shape)
                groups[group][name] = array
                at += array.nbytes
        return groups, facts

    def intact(self, digest, body):
        return digest == sha256(body).digest()


class NoDigest(Sound):
    def intact(self, digest, body):
        return True


class Stamped(Sound):
    def stamp(self):
        return time.time_ns()


class InPlace(Sound):
    def write(self, path, contents):
        with open(path, "wb") as file:
            file.write(contents)
            os.fsync(file.fileno())


class Leaves(Sound):
    """Its temporary file stays when the disk is full."""

    def write(self, path, contents):
        path.with_suffix(".tmp").write_bytes(contents)
        write_file(path, contents)
        path.with_suffix(".tmp").unlink()


class Single(Sound):
    def save(self, path, groups, facts):
        super().save(path, {g: {n: a.astype(np.float32) for n, a in x.items()} for g, x in groups.items()}, facts)


class LooseError(Sound):
    def load(self, path, error):
        return super().load(path, ValueError)


class Nameless(Sound):
    def load(self, path, error):
        try:
            return super().load(path, error)
        except FileError as cause:
            raise error("broken") from cause


class Forgetful(Sound):
    def save_snapshot(self, path, snapshot):
        self.save(path, {"arrays": snapshot.parameters, "slots": {}}, snapshot.facts)


class Plugin:
    def __init__(self, kind):
        self.kind = kind

    @hookimpl
    def mocha_register_formats(self, formats):
        formats.add(".acme", self.kind)


class Suite(FormatTests):
    ending = ".acme"


CHECKS = {
    "round trip": lambda path, patch: Suite().test_round_trip("network", "plain", path),
    "snapshot": lambda path, patch: Suite().test_a_whole_snapshot(path),
    "flipped": lambda path, patch: Suite().test_flipped_bits("snapshot", path),
    "truncated": lambda path, patch: Suite().test_truncated_files("network", path),
    "same": lambda path, patch: Suite().test_same_contents_same_bytes("snapshot", path),
    "whole": lambda path, patch: Suite().test_writing_is_all_or_nothing("snapshot", path, patch),
    "missing": lambda path, patch: Suite().test_missing_file("network", path),
    "others": lambda path, patch: Suite().test_other_files("network", path),
}


@pytest.mark.parametrize(
    ("kind", "check"),
    [
        (NoDigest, "flipped"), (NoDigest, "truncated"), (Stamped, "same"), (InPlace, "whole"), (Leaves, "whole"),
        (Single, "round trip"), (LooseError, "missing"), (LooseError, "others"), (Nameless, "missing"),
        (Forgetful, "snapshot"),
    ],
)  # fmt: skip
def test_one_fault_each(kind, check, register_plugin, tmp_path, monkeypatch):
    register_plugin(Plugin(kind), "acme-format")
    with pytest.raises((AssertionError, ValueError, OSError)):
        CHECKS[check](tmp_path, monkeypatch)


@pytest.mark.parametrize("check", CHECKS)
def test_a_sound_format(check, register_plugin, tmp_path, monkeypatch):
    register_plugin(Plugin(Sound), "acme-format")
    CHECKS[check](tmp_path, monkeypatch)


def test_which_format_has_to_be_said():
    with pytest.raises(ConfigurationError, match=r"ending = '.npz'"):

        class TestNothing(FormatTests):
            pass
