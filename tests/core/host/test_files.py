"""`mocha_core.host.files`: a file is there whole or not at all."""

import errno
import os
import stat
import threading

import numpy as np
import pytest

from mocha_core.errors import FileError
from mocha_core.host.files import remove_leftovers, write_file


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"old")
    return path


def assert_untouched(path):
    assert path.read_bytes() == b"old"
    assert os.listdir(path.parent) == ["a.txt"]


@pytest.mark.parametrize("pieces", [(), (b"",), (b"one", bytearray(b"two"), memoryview(b"three")), (b"", b"x", b"")])
def test_the_pieces_one_after_the_other(path, pieces):
    write_file(path, *pieces)
    assert path.read_bytes() == b"".join(pieces)
    assert os.listdir(path.parent) == ["a.txt"]


def test_pieces_of_memory_of_any_type_and_shape(path):
    arrays = [np.arange(6, dtype="float32").reshape(2, 3), np.zeros((0, 3)), np.asarray(7, dtype="int16")]
    write_file(path, *map(memoryview, arrays))
    assert path.read_bytes() == b"".join(array.tobytes() for array in arrays)


def test_a_new_file_obeys_the_umask(path):
    mask = os.umask(0o027)
    try:
        write_file(path, b"new")
    finally:
        os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_what_reaches_the_disk_and_in_which_order(path, monkeypatch):
    steps = []
    fsync, replace = os.fsync, os.replace
    inode = lambda descriptor: os.fstat(descriptor).st_ino  # noqa: E731
    monkeypatch.setattr(os, "fsync", lambda fd: (steps.append(("fsync", inode(fd))), fsync(fd)))
    monkeypatch.setattr(os, "replace", lambda a, b: (steps.append("replace"), replace(a, b)))
    write_file(path, b"new")
    contents, folder = path.stat().st_ino, path.parent.stat().st_ino
    assert steps == [("fsync", contents), "replace", ("fsync", folder)]


@pytest.mark.parametrize("at_a_time", [1, 2, 5])
def test_a_system_that_takes_few_bytes_at_a_time(path, monkeypatch, at_a_time):
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:at_a_time]))
    write_file(path, b"0123456", b"789")
    assert path.read_bytes() == b"0123456789"


def test_a_system_that_takes_nothing_is_no_endless_loop(path, monkeypatch):
    monkeypatch.setattr(os, "write", lambda fd, data: 0)
    with pytest.raises(FileError, match=r"a.txt' \(3 bytes\) cannot be written: nothing more is taken"):
        write_file(path, b"new")
    assert_untouched(path)


CALLS = ("open", "write", "fsync", "replace", "close")
CAUSES = {
    errno.ENOSPC: r"No space left on device. Free some space",
    errno.EDQUOT: r"Disk quota exceeded. Free some space",
    errno.EIO: r"Input/output error. Check the disk",
    errno.EROFS: r"Read-only file system. Give a folder that can be written to",
    errno.EMFILE: r"Too many open files. Check the folder",
}


def failing(monkeypatch, call, code, at):
    """Makes the call number `at` fail; returns the list of all of them."""
    calls, real = [], getattr(os, call)

    def injected(*arguments, **options):
        calls.append(arguments)
        if call == "close":  # whatever it says, the descriptor is free
            real(*arguments)
        if len(calls) == at:
            raise OSError(code, os.strerror(code))
        return None if call == "close" else real(*arguments, **options)

    monkeypatch.setattr(os, call, injected)
    return calls


def clean_calls(tmp_path, call):
    with pytest.MonkeyPatch.context() as patch:
        calls = failing(patch, call, 0, 0)
        write_file(tmp_path / "b.txt", b"one", b"two")
    (tmp_path / "b.txt").unlink()
    return len(calls)


@pytest.mark.parametrize("code", CAUSES, ids=errno.errorcode.get)
@pytest.mark.parametrize("call", CALLS)
def test_a_failure_of_any_call_leaves_the_old_file_and_nothing_else(path, monkeypatch, call, code):
    count = clean_calls(path.parent, call)
    assert count == {"open": 2, "write": 2, "fsync": 2, "replace": 1, "close": 2}[call]
    descriptors = os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else None
    for at in range(1, count + 1):
        with monkeypatch.context() as patch:
            failing(patch, call, code, at)
            replaced = call in ("fsync", "close") and at == count
            if replaced:
                expected = r"a.txt' is written, but its folder cannot be flushed to the disk: .* Check the disk\.$"
            else:
                expected = rf"a.txt' \(6 bytes\) cannot be written: {CAUSES[code]}"
            with pytest.raises(FileError, match=expected) as caught:
                write_file(path, b"one", b"two")
            assert caught.value.__cause__.errno == code
        if replaced:
            assert path.read_bytes() == b"onetwo"
            path.write_bytes(b"old")
        assert_untouched(path)
    if descriptors is not None:
        assert set(os.listdir("/proc/self/fd")) <= set(descriptors)


def test_the_cause_is_told_even_if_nothing_can_be_deleted_either(path, monkeypatch):
    failing(monkeypatch, "write", errno.ENOSPC, 1)
    failing(monkeypatch, "unlink", errno.EIO, 1)
    with pytest.raises(FileError, match="No space left"):
        write_file(path, b"new")
    monkeypatch.undo()
    remove_leftovers(path.parent, "a.txt")
    assert_untouched(path)


def test_an_interruption_leaves_the_old_file(path, monkeypatch):
    def interrupt(descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_file(path, b"new")
    assert_untouched(path)


def test_folders_and_names_that_cannot_be(path):
    with pytest.raises(FileError, match=r"missing/a.txt' \(1 bytes\) cannot be written: No such file .* Make the fo"):
        write_file(path.parent / "missing" / "a.txt", b"x")
    with pytest.raises(FileError, match=r"cannot be written: File name too long. Choose a shorter name"):
        write_file(path.parent / ("a" * 300), b"x")
    with pytest.raises(FileError, match=r"cannot be written: Not a directory"):
        write_file(path / "b.txt", b"x")
    (path.parent / "folder").mkdir()
    with pytest.raises(FileError, match=r"folder' \(1 bytes\) cannot be written: Is a directory"):
        write_file(path.parent / "folder", b"x")
    (path.parent / "folder").rmdir()
    assert_untouched(path)


def test_several_threads_on_one_file(path):
    contents = [bytes([number]) * 50_000 for number in range(8)]
    threads = [threading.Thread(target=write_file, args=(path, content)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert path.read_bytes() in contents
    assert os.listdir(path.parent) == ["a.txt"]


def test_leftovers_of_those_names_are_removed_and_nothing_else(path, monkeypatch):
    def killed(*arguments):
        raise OSError

    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", killed)
        patch.setattr(os, "replace", killed)
        for name in ("snapshot-000001.hdf5", "snapshot-000002.hdf5", "network.hdf5"):
            with pytest.raises(FileError):
                write_file(path.parent / name, b"half")
    (path.parent / ".keep").touch()
    assert len(os.listdir(path.parent)) == 5
    remove_leftovers(path.parent, "snapshot-*.hdf5")
    left = sorted(os.listdir(path.parent))
    assert left[1:] == [".network.hdf5" + left[1].removeprefix(".network.hdf5"), "a.txt"]
    assert left[0] == ".keep"


def test_leftovers_that_cannot_be_removed(path, monkeypatch):
    (path.parent / ".a.txt.1.mocha-tmp").touch()
    failing(monkeypatch, "unlink", errno.EROFS, 1)
    with pytest.raises(FileError, match=r"A leftover in '.*' cannot be deleted: .* Give a folder to write to"):
        remove_leftovers(path.parent, "*")
