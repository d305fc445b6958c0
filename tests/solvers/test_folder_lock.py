"""One owner at a time for a folder: locks that end with their process, and only then."""

import errno
import os
import signal
import subprocess
import sys
import time

import pytest
from mocha_solvers_std.folder_lock import FolderLock

from mocha_core.errors import FileError

HOLD = """
import sys, time
from pathlib import Path
from mocha_solvers_std.folder_lock import FolderLock
lock = FolderLock(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(600)
"""


def assert_free(folder):
    FolderLock(folder).release()


def in_a_child(function):
    """The exit status of a forked child that runs the function; 77 if it raises."""
    if not (child := os.fork()):
        try:
            os._exit(function() or 0)
        except BaseException:
            os._exit(77)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_second_lock_of_this_process_is_refused(tmp_path):
    lock = FolderLock(tmp_path)
    expected = rf"Folder '{tmp_path}' is in use by another Snapshot of this process \({os.getpid()}\). Let one solve"
    with pytest.raises(FileError, match=expected):
        FolderLock(tmp_path)
    lock.check()
    lock.release()
    lock.release()
    assert_free(tmp_path)


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_another_process_is_named_until_it_ends_however_that_is(tmp_path, end):
    with subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout.readline() == b"held\n"
            for _ in range(2):  # being refused does not end the other's lock
                with pytest.raises(FileError, match=rf"is in use by process {process.pid} on .*Wait until it ends, st"):
                    FolderLock(tmp_path)
        finally:
            process.send_signal(end)
    assert_free(tmp_path)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
class TestFork:
    def test_a_child_that_exits_does_not_release_it(self, tmp_path):
        lock = FolderLock(tmp_path)
        assert in_a_child(lambda: 0) == 0
        assert in_a_child(lock.release) == 0
        with pytest.raises(FileError, match="in use"):
            FolderLock(tmp_path)
        lock.check()
        lock.release()

    def test_a_child_does_not_own_it(self, tmp_path):
        lock = FolderLock(tmp_path)
        expected = rf"'{tmp_path}' does not belong to process \d+, which was forked from the one that trains"

        def child():
            with pytest.raises(FileError, match=expected):
                lock.check()
            with pytest.raises(FileError, match=rf"in use by process {os.getppid()} on"):
                FolderLock(tmp_path)

        assert in_a_child(child) == 0
        lock.release()

    def test_a_child_that_survives_does_not_keep_it(self, tmp_path):
        reading, writing = os.pipe()
        if not (parent := os.fork()):
            lock = FolderLock(tmp_path)
            if not os.fork():
                os.write(writing, f"{os.getpid()}\n".encode())
                time.sleep(600)
            time.sleep(600)
            os._exit(lock is None)
        survivor = int(os.read(reading, 20))
        try:
            os.kill(parent, signal.SIGKILL)
            os.waitpid(parent, 0)
            os.kill(survivor, 0)
            assert_free(tmp_path)
        finally:
            os.kill(survivor, signal.SIGKILL)
            os.close(reading)
            os.close(writing)

    def test_a_program_that_is_started_does_not_keep_it(self, tmp_path):
        lock = FolderLock(tmp_path)
        with subprocess.Popen(["sleep", "600"], close_fds=False) as process:
            lock.release()
            assert_free(tmp_path)
            process.kill()


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES, errno.ENOSPC])
def test_a_folder_that_cannot_be_written_to(tmp_path, monkeypatch, code):
    def refuse(*arguments, **options):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(FileError, match=rf"'{tmp_path}' cannot be written to: {os.strerror(code)}. Make it writable"):
        FolderLock(tmp_path)


def test_an_owner_that_cannot_be_written_down_leaves_the_folder_free(tmp_path, monkeypatch):
    def refuse(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", refuse)
        with pytest.raises(FileError, match=r"No space left on device. Make it writable, free some space"):
            FolderLock(tmp_path)
    assert_free(tmp_path)


def test_a_file_system_without_locks_is_a_warning(tmp_path, monkeypatch, messages):
    fcntl = pytest.importorskip("fcntl")

    def refuse(*arguments):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert_free(tmp_path)
    assert messages() == [
        f"Folder '{tmp_path}' is on a file system without locks: make sure that no other process uses it."
    ]


def test_a_lock_file_of_anything_is_no_obstacle(tmp_path):
    (tmp_path / ".lock").write_bytes(b"\xff" * 1000)
    lock = FolderLock(tmp_path)
    assert (tmp_path / ".lock").read_text().startswith(f"process {os.getpid()} on ")
    lock.release()
