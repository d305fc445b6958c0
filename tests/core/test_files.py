"""`mocha_core.files`: a file is there whole or not at all."""

import os

import pytest

from mocha_core.errors import FileError
from mocha_core.files import remove_leftovers, replacing


def test_the_file_appears_when_the_block_succeeds(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
        assert temporary.parent == tmp_path
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_the_old_file_stays_when_the_block_fails(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), replacing(path) as temporary:
        temporary.write_text("half") // 0
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_what_reaches_the_disk_and_in_which_order(tmp_path, monkeypatch):
    steps = []
    fsync, replace = os.fsync, os.replace
    inode = lambda descriptor: os.fstat(descriptor).st_ino  # noqa: E731
    monkeypatch.setattr(os, "fsync", lambda fd: (steps.append(("fsync", inode(fd))), fsync(fd)))
    monkeypatch.setattr(os, "replace", lambda a, b: (steps.append("replace"), replace(a, b)))
    with replacing(tmp_path / "a.txt") as temporary:
        temporary.write_text("new")
    contents, folder = (tmp_path / "a.txt").stat().st_ino, tmp_path.stat().st_ino
    assert steps == [("fsync", contents), "replace", ("fsync", folder)]


def test_an_error_of_the_system_names_the_file(tmp_path):
    with pytest.raises(FileError, match=r"'.*missing/a.txt' cannot be written: .* Check the folder"):  # noqa: SIM117
        with replacing(tmp_path / "missing" / "a.txt") as temporary:
            temporary.write_text("new")


def test_leftovers_of_killed_processes_are_removed_and_nothing_else(tmp_path):
    context = replacing(tmp_path / "a.txt")
    context.__enter__().write_text("half")  # what a killed process leaves
    (tmp_path / ".keep").touch()
    assert len(os.listdir(tmp_path)) == 2
    remove_leftovers(tmp_path)
    assert os.listdir(tmp_path) == [".keep"]
    error = KeyboardInterrupt()
    assert not context.__exit__(type(error), error, None)
