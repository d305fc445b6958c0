"""No space left at any write, fsync or rename of a save: what was saved before is intact, nothing stays half there."""

import errno
import json
import logging
import os
import re
import runpy
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from mocha_core.errors import FileError

SMALL_RUN = Path(__file__).with_name("small_run.py")
train = runpy.run_path(str(SMALL_RUN))["train"]
#: A save is tried at this iteration, with an event before it; those before are there already.
AT, LAST = 3, 5
CALLS = ("open", "write", "fsync", "replace", "ftruncate")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The files of the run that always had space."""
    folder = tmp_path_factory.mktemp("whole")
    train(folder, LAST)
    return {path.name: path.read_bytes() for path in folder.glob("snapshot-*")}


@pytest.fixture
def begun(tmp_path):
    """A folder with the run up to the iteration before."""
    folder = tmp_path / "run"
    train(folder, AT - 1)
    return folder


class Injector:
    """Counts the calls of `os` while the iteration `AT` is saved; lets one of them, or all from it on, fail."""

    def __init__(self, name, number=0, lasting=False, short=None):
        self.name, self.number, self.lasting, self.short = name, number, lasting, short
        self.count = self.failed = 0
        self.real, self.active = getattr(os, name), False

    def __enter__(self):
        setattr(os, self.name, self.call)
        return self

    def __exit__(self, *exception):
        setattr(os, self.name, self.real)

    def begin(self, iteration):
        self.active = iteration == AT

    def end(self, iteration):
        self.active = False

    def call(self, first, *arguments, **options):
        if not self.active:
            return self.real(first, *arguments, **options)
        self.count += 1
        if self.number and (self.count == self.number or (self.lasting and self.count > self.number)):
            self.failed += 1
            if self.short and self.failed == 1:  # takes a part, and only the next attempt says why
                self.number, taken = self.number + 1, self.short
                return self.real(first, arguments[0][:taken])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self.real(first, *arguments, **options)


def run(folder, injector, **options):
    with injector:
        return train(folder, LAST, injector.begin, injector.end, **options)


def assert_tidy(folder, whole, where):
    """Whole snapshots of the right contents, whole lines, a manifest that lists what is there, and nothing else."""
    names = set(os.listdir(folder)) - {".lock", "history.jsonl", "manifest.json"}
    assert names <= set(whole), where
    for name in names:
        assert (folder / name).read_bytes() == whole[name], where
    for line in (folder / "history.jsonl").read_bytes().splitlines(keepends=True):
        assert line.endswith(b"\n"), where
        json.loads(line)
    entries = json.loads((folder / "manifest.json").read_bytes())["snapshots"]
    assert {entry["name"] for entry in entries} <= names, where
    assert {f"snapshot-{i:06d}.hdf5" for i in range(1, AT)} <= names, where


def assert_goes_on(folder, whole, where):
    """With space again, the run ends as the one that always had space."""
    _, iteration = train(folder, LAST)
    assert iteration == LAST, where
    newest = max(whole)
    assert (folder / newest).read_bytes() == whole[newest], where
    events = [json.loads(line)["iteration"] for line in (folder / "history.jsonl").read_bytes().splitlines()]
    assert events == list(range(1, LAST + 1)), where
    assert_tidy(folder, whole, where)


def points(folder):
    """Every call that a save without failures makes."""
    found = []
    for name in CALLS:
        copy = folder.with_name(f"clean-{name}")
        shutil.copytree(folder, copy)
        injector = Injector(name)
        run(copy, injector)
        found += [(name, number) for number in range(1, injector.count + 1)]
    return found


@pytest.mark.parametrize("lasting", [False, True], ids=["once", "from then on"])
@pytest.mark.parametrize("on_error", ["warn", "stop"])
def test_at_every_call(begun, whole, report, caplog, on_error, lasting):
    caplog.set_level(logging.WARNING, "mocha")
    found = points(begun)
    counts = {name: sum(call == name for call, _ in found) for name in CALLS}
    assert counts["write"] >= 2
    assert counts["fsync"] >= 4
    assert counts["replace"] == 2
    shorts = [(name, number, short) for name, number in found for short in (1, 40) if name == "write"]
    injected = 0
    for name, number, short in [*((name, number, None) for name, number in found), *shorts]:
        where = f"{name} number {number}, {on_error}, lasting={lasting}, short={short}"
        folder = begun.with_name("full")
        shutil.copytree(begun, folder)
        injector = Injector(name, number, lasting, short)
        caplog.clear()
        if on_error == "stop":
            with pytest.raises(FileError, match=r"No space left on device"):
                run(folder, injector, on_error=on_error)
        else:
            assert run(folder, injector, on_error=on_error)[1] == LAST, where
            messages = [record.getMessage() for record in caplog.records]
            assert any(str(folder) in line and "No space left on device" in line for line in messages), where
            for iteration in (AT + 1, LAST):  # the next breaks have tried again
                assert (folder / f"snapshot-{iteration:06d}.hdf5").exists(), where
        assert injector.failed >= (2 if short else 1), where
        injected += 1
        assert_tidy(folder, whole, where)
        assert_goes_on(folder, whole, where)
        shutil.rmtree(folder)
    assert injected == len(found) + len(shorts)
    what = ", ".join(f"{counts[name]} {name}" for name in CALLS if counts[name])
    report(f"no space in one save, {on_error}, {'lasting' if lasting else 'once'}", injected, f"{what}; all intact")


SYSTEM_CALLS = ("write", "pwrite64", "fsync", "fdatasync", "rename", "renameat", "renameat2")
LINE = re.compile(r"^(\d+) +(\w+)\(")


def traced(folder, log, *inject, on_error="warn"):
    """Run in a process whose system calls strace watches."""
    filters = ["-e", f"trace={','.join(SYSTEM_CALLS)}", *inject]
    command = [sys.executable, "-B", SMALL_RUN, folder, str(AT), on_error]
    return subprocess.run(
        ["strace", "-f", "-y", "--seccomp-bpf", "-s", "0", "-o", log, *filters, *command],
        capture_output=True, text=True, timeout=300, env=os.environ | {"PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def calls_in(folder, log):
    """(name, number among the process's calls of that name, line) of the calls that concern the folder."""
    numbers, found = Counter(), []
    for line in log.read_text().splitlines():
        if match := LINE.match(line):
            numbers[match[0]] += 1  # process and name
            if str(folder) in line:
                found.append((match[2], numbers[match[0]], line))
    return found


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_at_every_system_call(begun, whole, report, tmp_path):
    log, folder = tmp_path / "log", tmp_path / "traced"
    shutil.copytree(begun, folder)
    result = traced(folder, log)
    if "ptrace" in result.stderr or not log.exists():
        pytest.skip(f"strace may not trace here: {result.stderr.strip()}")
    assert result.returncode == 0, result.stderr
    found = calls_in(folder, log)
    first_save = next(i for i, (_, _, line) in enumerate(found) if f"snapshot-{AT:06d}" in line)
    shutil.rmtree(folder)
    refused = 0
    for index, (name, number, line) in enumerate(found):
        shutil.copytree(begun, folder)
        result = traced(folder, log, "-e", f"inject={name}:error=ENOSPC:when={number}")
        where = f"{line}\n{result.stderr}"
        assert [line for line in log.read_text().splitlines() if "INJECTED" in line and str(folder) in line], where
        assert result.returncode == (0 if index >= first_save else result.returncode) in (0, 3), where
        refused += result.returncode == 3
        assert "No space left on device" in result.stdout + result.stderr, where
        assert "Traceback" not in result.stderr, where
        assert_tidy(folder, whole, where)
        assert_goes_on(folder, whole, where)
        shutil.rmtree(folder)
    assert {name for name, _, _ in found} >= {"write", "fsync"}
    report(
        "no space, by the system (strace)",
        len(found),
        f"all intact; {refused} at the beginning of the run, which says so",
    )


ON_A_SMALL_DISK = """
import os, runpy, sys
from pathlib import Path
train = runpy.run_path(sys.argv[1])["train"]
disk = Path(sys.argv[2])
_, iteration = train(disk / "run", 40)
assert iteration == 40
full = sorted(path.name for path in (disk / "run").glob("*"))
assert 3 < len(full) < 35, full
assert not list((disk / "run").glob(".*.mocha-tmp"))
try:
    train(disk / "run", 41, on_error="stop")
except OSError as error:
    print("refused:", error)
else:
    raise SystemExit("it found space")
assert sorted(path.name for path in (disk / "run").glob("*")) == full
(disk / "ballast").unlink()
_, iteration = train(disk / "run", 41, keep=2)
assert iteration == 41
print("saved:", *sorted(path.name for path in (disk / "run").glob("snapshot-*")))
"""


@pytest.mark.skipif(shutil.which("unshare") is None, reason="unshare is not installed")
def test_on_a_disk_that_is_full(tmp_path, report):
    """A real one, of memory, that only this test's process sees."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = 'mount -t tmpfs -o size=256k tmpfs "$0" && head -c 98304 /dev/zero > "$0/ballast" && exec "$@"'
    command = ["unshare", "--map-root-user", "--mount", "sh", "-c", mount, disk]
    probe = subprocess.run([*command, "true"], capture_output=True, text=True, timeout=60)
    if probe.returncode:
        pytest.skip(f"no file system can be mounted here: {probe.stderr.strip()}")
    result = subprocess.run(
        [*command, sys.executable, "-B", "-c", ON_A_SMALL_DISK, SMALL_RUN, disk],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    assert "could not be saved: " in result.stdout
    assert "No space left on device" in result.stdout
    assert "refused: " in result.stdout
    assert result.stdout.splitlines()[-1].startswith("saved: snapshot-")
    assert result.stdout.splitlines()[-1].endswith("snapshot-000041.hdf5")
    report("a disk of memory that is full", 1, "training went on, or stopped by choice, and went on with space")
