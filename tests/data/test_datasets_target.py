"""What is left in the target folder: all files or none, and never somebody else's."""

import os
import stat

import pytest
from mocha_datasets import mnist
from mocha_datasets.split import Split
from mocha_datasets.target import publishing

from mocha_core.errors import FileError


def test_refuses_to_overwrite(tmp_path):
    (tmp_path / "test.txt").write_text("mine")
    with pytest.raises(FileError, match=r"test.txt already there.*--force"):
        mnist.convert(None, tmp_path)
    assert os.listdir(tmp_path) == ["test.txt"]
    assert (tmp_path / "test.txt").read_text() == "mine"
    mnist.convert(None, tmp_path, force=True)
    assert (tmp_path / "test.txt").read_text() == "test.hdf5\n"


def test_failure_leaves_the_old_files(tmp_path, monkeypatch):
    def full(*arguments, **keywords):
        raise OSError(28, "No space left on device")

    mnist.convert(None, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    monkeypatch.setattr(Split, "write", full)
    with pytest.raises(FileError, match=r"cannot be written to: .*No space left on device"):
        mnist.convert(None, tmp_path, force=True)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_interruption_leaves_nothing(tmp_path):
    def interrupted():
        with publishing(tmp_path, ["a"]) as scratch:
            (scratch / "a").touch()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert os.listdir(tmp_path) == []


def test_target_is_a_file(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(FileError, match="file: cannot be written to"):
        mnist.convert(None, tmp_path / "file")


@pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX's")
def test_modes_are_the_users(tmp_path):
    old = os.umask(0o022)
    try:
        mnist.convert(None, tmp_path)
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "train.hdf5").stat().st_mode) == 0o644
