"""Hostile HDF5 files: every kind at every place that reads HDF5 is refused, and the net stays as it was."""

import hostile_hdf5 as hostile
import pytest

from mocha_core.errors import FileError, MochaError, ShapeError


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    hostile.foreign(tmp_path)
    return tmp_path


@pytest.mark.parametrize("entry", hostile.ENTRIES)
def test_the_file_without_anything_hostile_is_read(folder, entry):
    hostile.ENTRIES[entry](folder, None)


@pytest.mark.parametrize("kind", hostile.KINDS)
@pytest.mark.parametrize("entry", hostile.ENTRIES)
def test_refused(folder, entry, kind):
    if not hostile.applies(entry, kind):
        pytest.skip("is no attack there")
    error = hostile.attack(entry, kind, folder)
    assert isinstance(error, MochaError), "not refused"
    if not isinstance(error, hostile.Skipped | ShapeError):
        assert isinstance(error, FileError)
        assert hostile.FOREIGN not in str(error)
