"""Lists of HDF5 files, and every error of a list by its message."""

import os

import h5py
import mocha_hdf5.bands
import mocha_hdf5.source
import numpy as np
import pytest
from hdf5_samples import fails, forwards, numbered

from mocha_core.errors import FileError
from mocha_core.layers import HDF5DataLayer


def test_the_list_may_have_spaces_and_blank_lines(write, make_net, tmp_path):
    source = write(*numbered(2, 1))
    source.write_text("\n  part1.hdf5 \t\n\n   \n" + str(tmp_path / "part0.hdf5") + "\r\n")
    assert forwards(make_net(source=source, batch_size=3), 1) == [[2, 0, 1]]


def test_paths_are_relative_to_the_working_directory_and_else_to_the_list(write, make_net, tmp_path, monkeypatch):
    write(*numbered(2, 1))
    (tmp_path / "lists").mkdir()
    (tmp_path / "part0.hdf5").rename(tmp_path / "lists" / "part0.hdf5")
    (tmp_path / "lists" / "part1.hdf5").write_text("decoy: the working directory comes first")
    (tmp_path / "lists" / "l.txt").write_text("part0.hdf5\npart1.hdf5\n")
    assert forwards(make_net(source="lists/l.txt", batch_size=3), 1) == [[0, 1, 2]]


def test_list_missing(make_net, tmp_path):
    fails(make_net, tmp_path / "no.txt", r"Source list '.*no.txt' does not exist. Write a text file with the path")


def test_list_is_a_folder(make_net, tmp_path):
    fails(make_net, tmp_path, r"Source list '.*' cannot be read: it is a folder. Give a file")


@pytest.mark.parametrize("text", ["", "\n  \n"])
def test_list_empty(make_net, tmp_path, text):
    (tmp_path / "list.txt").write_text(text)
    fails(make_net, tmp_path / "list.txt", r"Source list '.*list.txt' is empty. Write a text file")


@pytest.mark.parametrize("options", [{}, {"userblock_size": 1024}])
def test_an_hdf5_file_stands_for_a_list_of_itself(write, make_net, tmp_path, options):
    with h5py.File(tmp_path / "one.dat", "w", **options) as file:
        file["x"] = np.arange(3.0)
    net = make_net(source=tmp_path / "one.dat", tops=["x"], batch_size=3)
    net.forward()
    assert net.blobs["x"].numpy().tolist() == [0, 1, 2]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_a_list_in_another_encoding_is_named(write, make_net, tmp_path, encoding):
    source = write(*numbered(2))
    source.write_bytes("part0.hdf5\r\n".encode(encoding))
    name = encoding[:6].upper()
    fails(make_net, source, rf"list.txt' is in {name}, expected UTF-8. Save it as UTF-8: .*PowerShell")


def test_a_list_that_is_not_in_utf8_names_the_line(write, make_net):
    source = write(*numbered(2))
    source.write_bytes(b"part0.hdf5\ndonn\xe9es.hdf5\n")
    fails(make_net, source, r"list.txt' is not a text file in UTF-8: line 2 has the byte 0xe9.*Save it as UTF-8")


@pytest.mark.parametrize("line", ['"part 0.hdf5"', "'part 0.hdf5'", "part 0.hdf5", "~/part 0.hdf5", '"~/part 0.hdf5"'])
def test_quotes_and_the_home_folder(write, make_net, tmp_path, monkeypatch, line):
    source = write(*numbered(2))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    os.rename("part0.hdf5", "part 0.hdf5")
    source.write_text(f"{line}\n")
    assert forwards(make_net(source="~/list.txt", batch_size=2), 1) == [[0, 1]]


def test_a_folder_in_a_list(write, make_net, tmp_path):
    source = write(*numbered(2))
    (tmp_path / "folder").mkdir()
    source.write_text("folder\n")
    fails(make_net, source, r"names 'folder'.* It is a folder: write the path of each of its files")


def test_a_pattern_in_a_list(write, make_net):
    source = write(*numbered(2))
    source.write_text("*.hdf5\n")
    fails(make_net, source, r"names '\*.hdf5'.* Patterns are not expanded: .*'ls \*.hdf5 > train.txt'")


def test_a_list_saved_with_a_byte_order_mark(write, make_net):
    path = write({"x": np.arange(4.0)})
    path.write_text("part0.hdf5\r\n", encoding="utf-8-sig")
    net = make_net(source=path, tops=["x"], batch_size=4)
    net.forward()
    np.testing.assert_array_equal(net.blobs["x"].numpy(), np.arange(4.0))


def test_a_line_too_long_for_a_path_is_shown_in_part(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("x" * 100_000)
    with pytest.raises(FileError, match=r"names 'x{100}\.\.\.', which is neither in the working directory") as caught:
        HDF5DataLayer(name="d", source=path, tops=["x"], batch_size=1).open(0)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("line", ["a\0b.hdf5", "folder", ".", "/", "/dev/zero", "/dev/null"])
def test_lines_that_name_no_file(write, make_net, tmp_path, line):
    source = write(*numbered(2))
    (tmp_path / "folder").mkdir()
    source.write_text(f"part0.hdf5\n{line}\n")
    fails(make_net, source, r"list.txt' names '.*', which is neither in the working directory nor beside")


def test_a_list_as_long_as_no_list_is(make_net, tmp_path, monkeypatch):
    monkeypatch.setattr(mocha_hdf5.source_list, "LONGEST", 100)
    (tmp_path / "list.txt").write_text("x.hdf5\n" * 20)
    fails(make_net, tmp_path / "list.txt", r"Source list '.*' has more than 100 bytes, which is no list of files")
