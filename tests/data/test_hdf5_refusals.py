"""Files and datasets that a data layer refuses, each by its message."""

import os

import h5py
import numpy as np
import pytest
from hdf5_samples import fails, numbered

from mocha_core.errors import FileError
from mocha_core.layers import HDF5DataLayer


def test_file_missing(write, make_net):
    source = write(*numbered(2))
    os.remove("part0.hdf5")
    fails(make_net, source, r"list.txt' names 'part0.hdf5', which is neither in .* nor beside .*part0.hdf5'\)")


@pytest.mark.parametrize("content", [b"", b"label,data\n1,2\n", b"\x89HDF"])
def test_file_not_hdf5(write, make_net, tmp_path, content):
    source = write(*numbered(2))
    (tmp_path / "part0.hdf5").write_bytes(content)
    fails(make_net, source, r"'part0.hdf5' is not an HDF5 file")


def test_file_truncated(write, make_net, tmp_path):
    source = write(*numbered(50, 50))
    content = (tmp_path / "part1.hdf5").read_bytes()
    (tmp_path / "part1.hdf5").write_bytes(content[: len(content) // 2])
    fails(make_net, source, r"'part1.hdf5': cannot be opened: .*truncated.* The file is damaged")


def test_dataset_missing(write, make_net):
    source = write({"images": np.zeros((2, 3)), "label": np.zeros((2, 1))})
    fails(make_net, source, r"'part0.hdf5' has no dataset 'data'. It has: images, label")


def test_dataset_is_a_group(write, make_net):
    source = write({"data/x": np.zeros((2, 3)), "label": np.zeros((2, 1))})
    fails(make_net, source, r"'part0.hdf5': expected a dataset at 'data', found a group. Only numbers")


@pytest.mark.parametrize("link", [h5py.SoftLink("/label"), h5py.ExternalLink("part1.hdf5", "data")])
def test_links_are_not_followed(write, make_net, link):
    source = write({"label": np.zeros((2, 1))}, *numbered(2))
    with h5py.File("part0.hdf5", "a") as file:
        file["data"] = link
    fails(make_net, source, r"'part0.hdf5': expected no link at 'data', found a (soft )?link")


def test_virtual_datasets_are_refused(write, make_net):
    source = write({"label": np.zeros((2, 1))})
    layout = h5py.VirtualLayout((2, 3), "f8")
    layout[...] = h5py.VirtualSource("other.hdf5", "data", (2, 3))
    with h5py.File("part0.hdf5", "a") as file:
        file.create_virtual_dataset("data", layout)
    fails(make_net, source, r"'part0.hdf5', dataset 'data': its contents are in other files")


def test_declared_sizes_without_contents_are_refused(write, make_net):
    source = write({"label": np.zeros((2, 1))})
    with h5py.File("part0.hdf5", "a") as file:
        file.create_dataset("data", shape=(2**40, 2**40), dtype="f4", chunks=(1, 1024), compression="gzip")
    fails(make_net, source, r"dataset 'data': float32\[.*\] takes \d{25} bytes, the file holds at most \d{7};")


@pytest.mark.parametrize("data", [np.zeros((0, 3)), np.float64(1)])
def test_no_rows(write, make_net, data):
    source = write({"data": data, "label": np.zeros((2, 1))})
    fails(make_net, source, r"'part0.hdf5', dataset 'data': expected samples along the first axis, found shape \(")


def test_row_counts_of_tops_differ(write, make_net):
    source = write({"data": np.zeros((3, 2)), "label": np.zeros((2, 1))})
    fails(
        make_net,
        source,
        r"'part0.hdf5': expected as many samples .* found 3 of 'data', 2 of 'label'.*first axis.*MATLAB",
    )


@pytest.mark.parametrize("other", [np.zeros((2, 4)), np.zeros((2, 3, 1))])
def test_shapes_of_files_differ(write, make_net, other):
    source = write({"x": np.zeros((2, 3))}, {"x": other})
    message = r"'part1.hdf5', dataset 'x': expected samples of shape \(3,\) as in 'part0.hdf5', found \((4,|3, 1)\)"
    fails(make_net, source, message, tops=["x"])


@pytest.mark.parametrize("data", [np.array([b"a", b"b"]), np.ones((2, 3)) * 1j])
def test_dtype_not_numeric(write, make_net, data):
    source = write({"data": data, "label": np.zeros((2, 1))})
    fails(make_net, source, r"dataset 'data': expected integers or floating-point numbers, found ")


def test_a_failure_of_the_prefetching_thread_reaches_the_caller(write, make_net, tmp_path):
    source = write(*numbered(6), chunks=True, fletcher32=True)
    with h5py.File("part0.hdf5", "r") as file:
        offset = file["data"].id.get_chunk_info(0).byte_offset
    content = bytearray((tmp_path / "part0.hdf5").read_bytes())
    content[offset] ^= 1
    (tmp_path / "part0.hdf5").write_bytes(content)
    net = make_net(source=source, batch_size=2)
    for _ in range(2):  # the net stays usable: trying again tries again
        with pytest.raises(
            FileError, match=r"'part0.hdf5', dataset 'data': expected 288 bytes .* not match their checksum"
        ):
            net.forward()


def test_samples_without_elements(write):
    path = write({"x": np.zeros((3, 0, 2))})
    with pytest.raises(FileError, match=r"part0.hdf5', dataset 'x': expected samples .* found shape \(3, 0, 2\)"):
        HDF5DataLayer(name="d", source=path, tops=["x"], batch_size=1).open(0)


def test_a_file_that_becomes_shorter_during_a_run(write, make_net):
    path = write({"x": np.ones((4000, 64))})
    net = make_net(source=path, tops=["x"], batch_size=500)
    net.forward()
    os.truncate("part0.hdf5", 100_000)

    def epoch():
        for _ in range(8):
            net.forward()

    with pytest.raises(FileError, match=r"part0.hdf5': the file became shorter while it was in use"):
        epoch()


def test_a_name_with_a_null_byte(make_net):
    fails(make_net, "a\0b", r"Source list 'a\0b' cannot be opened: .*null")


def test_fill_values_that_are_not_defined_are_refused(write, make_net, tmp_path):
    source = write({"label": np.zeros((4, 1))})
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    with h5py.File(tmp_path / "part0.hdf5", "a") as file:
        space = h5py.h5s.create_simple((4, 2))
        h5py.h5d.create(file.id, b"data", h5py.h5t.IEEE_F32LE, space, properties)
        defined = properties.fill_value_defined() != h5py.h5d.FILL_VALUE_UNDEFINED
    net = make_net(source=source, batch_size=4)
    net.forward()
    assert defined, "the library has a default"
    assert net.blobs["data"].numpy().tolist() == [[0, 0]] * 4
