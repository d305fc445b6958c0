"""Files of a list that are closed and opened again."""

import os

import mocha_hdf5.bands
import mocha_hdf5.source
import pytest
from hdf5_samples import forwards, numbered

import mocha_core as mocha
from mocha_core.errors import FileError
from mocha_core.layers import HDF5DataLayer
from mocha_core.testing.backends import ReferenceBackend


def few_open(monkeypatch, most):
    monkeypatch.setattr(mocha_hdf5.source, "MOST_OPEN", most)
    monkeypatch.setattr(mocha_hdf5.source, "RESIDENT", 0)


def open_parts():
    """Descriptors of HDF5 files."""
    links = [f"/proc/self/fd/{descriptor}" for descriptor in os.listdir("/proc/self/fd")]
    return [link for link in links if os.path.exists(link) and os.readlink(link).endswith(".hdf5")]


STORED = [{}, {"chunks": True}, {"chunks": True, "compression": "gzip"}]


@pytest.mark.parametrize("options", STORED)
@pytest.mark.parametrize("shuffle", [False, True])
def test_few_of_many_files_are_open(write, make_net, monkeypatch, options, shuffle):
    few_open(monkeypatch, 3)
    source = write(*numbered(*[2] * 20), **options)
    net = make_net(source=source, batch_size=8, shuffle=shuffle)
    seen = [number for batch in forwards(net, 10) for number in batch]
    assert sorted(seen) == sorted([*range(40)] * 2)
    if os.path.isdir("/proc/self/fd"):
        assert 0 < len(open_parts()) <= 3


def test_chunks_are_kept_for_each_top_and_not_for_each_file(write, make_net, monkeypatch):
    few_open(monkeypatch, 3)
    kept = set()
    get = mocha_hdf5.bands.Bands.get
    monkeypatch.setattr(mocha_hdf5.bands.Bands, "get", lambda bands, *a: (kept.add(bands), get(bands, *a))[1])
    net = make_net(source=write(*numbered(*[2] * 20), chunks=True, compression="gzip"), batch_size=1)
    forwards(net, 10)
    assert len(kept) == 2


@pytest.mark.parametrize("options", STORED)
def test_files_are_found_again_from_another_working_directory(write, make_net, tmp_path, monkeypatch, options):
    few_open(monkeypatch, 1)
    write(*numbered(*[2] * 5), **options)
    net = make_net(source="list.txt", batch_size=4)
    assert forwards(net, 1) == [[0, 1, 2, 3]]
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    write(*numbered(*[2] * 5)[::-1])  # files of the same names
    assert forwards(net, 4) == [[4, 5, 6, 7], [8, 9, 0, 1], [2, 3, 4, 5], [6, 7, 8, 9]]


def test_paths_are_those_of_the_working_directory_in_which_the_layer_was_made(write, tmp_path, monkeypatch):
    write(*numbered(2, 2))
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "some.txt").write_text("part0.hdf5\n")
    made = [HDF5DataLayer(name="data", source=source, batch_size=1) for source in ("list.txt", "lists/some.txt")]
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    write(*numbered(*[2] * 5)[::-1])  # files of the same names
    (tmp_path / "list.txt").write_text("part0.hdf5\npart1.hdf5\n")
    for layer, rows in zip(made, (4, 2), strict=True):
        with mocha.System(ReferenceBackend(), dtype="float64") as system:
            for name in ("one", "another"):
                net = mocha.Net(name, system, [layer])
                assert forwards(net, rows) == [[i] for i in range(rows)]


def rewritten(path):
    copy = path.with_suffix(".new")
    copy.write_bytes(path.read_bytes())
    copy.replace(path)  # at no moment is there no file, as the layer may fetch the next rows at this moment


def touched(path):
    os.utime(path, ns=(0, 0))


def extended(path):
    times = os.stat(path)
    with open(path, "ab") as file:
        file.write(b"more")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


@pytest.mark.parametrize("options", STORED)
@pytest.mark.parametrize("change", [rewritten, touched, extended])
def test_a_file_that_changed_before_it_was_opened_again(write, make_net, tmp_path, monkeypatch, options, change):
    few_open(monkeypatch, 1)
    net = make_net(source=write(*numbered(4, 4), **options), batch_size=4)
    assert forwards(net, 1) == [[0, 1, 2, 3]]
    monkeypatch.setattr(mocha_hdf5.bands, "CHUNK_CACHE", 0)
    change(tmp_path / "part1.hdf5")
    change(tmp_path / "part0.hdf5")
    for _ in range(2):
        with pytest.raises(FileError, match=r"'part[01].hdf5' was changed or replaced while it was in use: .* again"):
            forwards(net, 30)


def test_a_file_that_is_gone_when_it_is_opened_again(write, make_net, tmp_path, monkeypatch):
    few_open(monkeypatch, 1)
    net = make_net(source=write(*numbered(40, 40)), batch_size=4)
    assert forwards(net, 1) == [[0, 1, 2, 3]]
    os.remove("part1.hdf5")
    for _ in range(2):
        with pytest.raises(FileError, match=r"'part1.hdf5' does not exist"):
            forwards(net, 30)
