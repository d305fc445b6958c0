"""HDF5 data that changes under a running net: an error that names the file, never wrong rows, nothing left open."""

import contextlib
import gc
import os
import signal
import sys
import threading

import h5py
import numpy as np
import pytest

import mocha_core as mocha
from mocha_core.errors import FileError
from mocha_core.layers import HDF5DataLayer, InnerProductLayer, SquareLossLayer
from mocha_core.solvers import SGD, LRPolicy
from mocha_core.testing.backends import ReferenceBackend

ROWS, BATCH = 20_000, 100
STORED = {"contiguous": {}, "chunked": {"chunks": (50, 4)}, "compressed": {"chunks": (50, 4), "compression": "gzip"}}


@pytest.fixture(autouse=True)
def no_hang_and_nothing_left():
    """A test that waits for ever is woken by an error; threads have ended and files are closed behind it."""

    def wake(*_):
        raise TimeoutError("the test hangs")

    files = open_files()
    before = signal.signal(signal.SIGALRM, wake)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)
    if prefetching() or open_files() != files:  # of a net in a cycle; collecting takes long
        gc.collect()
    for thread in prefetching():  # of a net that nobody holds: it ends by itself
        thread.join(timeout=10)
    if open_files() != files:  # a thread held the net while it was collected
        gc.collect()
    assert not prefetching()
    assert open_files() == files


def prefetching():
    return [thread for thread in threading.enumerate() if thread.name.startswith("prefetch")]


def open_files():
    """HDF5 files that this process has open."""
    found = []
    for descriptor in os.listdir("/proc/self/fd") if sys.platform == "linux" else ():
        with contextlib.suppress(OSError):
            path = os.readlink(f"/proc/self/fd/{descriptor}")
            found += [path] if ".hdf5" in path else []
    return found


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write files of ROWS numbered rows, and a list of them with any lines in between."""
    monkeypatch.chdir(tmp_path)

    def write(lines="part0.hdf5\npart1.hdf5\n", **options):
        for number in range(2):
            with h5py.File(f"part{number}.hdf5", "w") as file:
                index = np.arange(ROWS * number, ROWS * (number + 1), dtype="float32")
                file.create_dataset("data", data=np.repeat(index[:, None], 4, 1) + 1, **options)
        (tmp_path / "list.txt").write_bytes(lines.encode())
        return tmp_path / "list.txt"

    return write


def build(system, source, **options):
    data = HDF5DataLayer(name="data", source=source, batch_size=BATCH, tops=["data"], **options)
    x = InnerProductLayer(name="x", output_dim=4, bottoms=["data"], tops=["x"])
    return mocha.Net("net", system, [data, x, SquareLossLayer(name="loss", bottoms=["x", "data"])])


def check(net, minibatch):
    """The next minibatch, and its rows."""
    net.forward()
    rows = np.arange(minibatch * BATCH, (minibatch + 1) * BATCH) % (2 * ROWS)
    np.testing.assert_array_equal(net.blobs["data"].numpy(), np.repeat(rows[:, None], 4, 1) + 1)


def check_many(net, minibatches):
    for minibatch in minibatches:
        check(net, minibatch)


@pytest.fixture
def system():
    with mocha.System(ReferenceBackend()) as system:
        yield system


def truncate(path):
    os.truncate(path, 30_000)


def empty(path):
    os.truncate(path, 0)


def overwrite(path):
    """Another, smaller file in its place."""
    with open(path, "r+b") as file:
        file.truncate(0)
        file.write(b"something else" * 100)


@pytest.mark.parametrize("stored", STORED)
@pytest.mark.parametrize("harm", [truncate, empty, overwrite])
@pytest.mark.parametrize("part", [0, 1])
def test_a_file_that_shrinks_in_mid_epoch(write, system, stored, harm, part):
    net = build(system, write(**STORED[stored]))
    check_many(net, range(5))
    harm(f"part{part}.hdf5")
    with pytest.raises(FileError, match=rf"part{part}\.hdf5"):
        check_many(net, range(5, 1000))
    for _ in range(2):
        with pytest.raises(FileError, match=rf"part{part}\.hdf5"):
            net.forward()
    net.destroy()


@pytest.mark.skipif(sys.platform == "win32", reason="an open file cannot be removed there")
@pytest.mark.parametrize("stored", STORED)
@pytest.mark.parametrize("replaced", [False, True])
def test_files_that_are_removed_or_replaced_are_read_to_the_end(write, system, stored, replaced):
    """What was opened is there until it is closed."""
    net = build(system, write(**STORED[stored]))
    check_many(net, range(3))
    for name in ("part0.hdf5", "part1.hdf5", "list.txt"):
        os.remove(name)
        if replaced:
            with open(name, "wb") as file:
                file.write(b"something else")
    check_many(net, range(3, 2 * ROWS // BATCH + 10))
    with pytest.raises(FileError, match=r"list\.txt|something else"):
        build(system, "list.txt")


def test_a_solver_stops_at_the_error_and_keeps_count(write, system):
    net = build(system, write())
    solver = SGD(mocha.SolverParameters(max_iter=10_000, lr_policy=LRPolicy.Fixed(0.0), momentum=0.0))
    check(net, 0)
    truncate("part1.hdf5")
    for _ in range(2):
        with pytest.raises(FileError, match=r"part1\.hdf5"):
            solver.solve(net)
        assert ROWS // BATCH - 1 <= solver.state.iteration < 2 * ROWS // BATCH
    assert net.feeds.first.cursor == (solver.state.iteration + 1) * BATCH


LINES = {
    "blank lines": "\n\npart0.hdf5\n\n \t\npart1.hdf5\n\n",
    "no last newline": "part0.hdf5\npart1.hdf5",
    "DOS": "part0.hdf5\r\n\r\npart1.hdf5\r\n",
    "spaces": "  part0.hdf5\t\n part1.hdf5 \n",
    "byte order mark": "\ufeffpart0.hdf5\npart1.hdf5\n",
}


@pytest.mark.parametrize("lines", LINES)
def test_lists_with_empty_lines(write, system, lines):
    net = build(system, write(LINES[lines]))
    assert net.feeds.first.source.rows == 2 * ROWS
    check(net, 0)
    net.destroy()


@pytest.mark.parametrize(
    ("lines", "named"),
    [
        ("part0.hdf5\nmissing.hdf5\npart1.hdf5\n", "missing.hdf5"),
        ("missing.hdf5\n", "missing.hdf5"),
        ("part0.hdf5\nlist.txt\n", "list.txt"),
        ("part0.hdf5\n.\n", "."),
        ("part0.hdf5,part1.hdf5\n", "part0.hdf5,part1.hdf5"),
        ("\n \n\t\n", "list.txt"),
        ("", "list.txt"),
        ("part0.hdf5\n\x00\n", "\x00"),
        ("part0.hdf5\n" + "x" * 5000, "x" * 100),
    ],
)
def test_lists_that_name_what_is_not_there(write, system, lines, named):
    with pytest.raises(FileError) as caught:
        build(system, write(lines))
    assert named in str(caught.value) or repr(named)[1:-1] in str(caught.value)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.parametrize("stored", STORED)
def test_a_forked_process_reads_on(write, system, stored):
    net = build(system, write(**STORED[stored]))
    check(net, 0)
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(30)
        status = 1
        with contextlib.suppress(BaseException):
            check_many(net, range(1, 300))
            net.destroy()
            status = 0
        os._exit(status)
    check_many(net, range(1, 300))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    net.destroy()
