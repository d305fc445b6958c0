"""CIFAR-10: the layout of a record, the mean, and files that are not CIFAR-10."""

import os

import h5py
import numpy as np
import pytest
from mocha_datasets import cifar10

from mocha_core.errors import DataError, FileError

TRAIN = [f"data_batch_{number}.bin" for number in range(1, 6)]
FILES = ["mean.hdf5", "train.hdf5", "test.hdf5", "train.txt", "test.txt"]


def pixel(number, k, plane, row, column):
    """What picture k of file `number` holds there; works for arrays too."""
    return (number * 40 + k + plane * 5 + row * 2 + column) % 256


def record(number, k):
    """As the CIFAR-10 page says: a label, then 1024 bytes of red, 1024 of green, 1024 of blue, row by row."""
    places = [(plane, row, column) for plane in range(3) for row in range(32) for column in range(32)]
    return bytes([(number + k) % 10, *(pixel(number, k, *place) for place in places)])


def write(folder):
    folder.mkdir()
    for number, name in enumerate([*TRAIN, "test_batch.bin"]):
        (folder / name).write_bytes(record(number, 0) + record(number, 1))


def read(path):
    with h5py.File(path) as file:
        return {name: values[:] for name, values in file.items()}


@pytest.fixture
def source(tmp_path):
    write(tmp_path / "in")
    return tmp_path / "in"


def test_layout_mean_and_labels(tmp_path, source):
    out = tmp_path / "out"
    assert cifar10.convert(source, out) == [out / name for name in FILES]
    assert sorted(os.listdir(out)) == sorted(FILES)
    mean = read(out / "mean.hdf5")
    assert list(mean) == ["mean"]
    assert mean["mean"].shape == (1, 3, 32, 32)
    train, test = read(out / "train.hdf5"), read(out / "test.hdf5")
    assert train["data"].shape == (10, 3, 32, 32)
    assert test["data"].shape == (2, 3, 32, 32)
    for values in (mean["mean"], *train.values(), *test.values()):
        assert values.dtype == np.float32
    assert train["label"].tolist() == [[0], [1], [1], [2], [2], [3], [3], [4], [4], [5]]  # in the files' order
    assert test["label"].tolist() == [[5], [6]]

    places = np.indices((3, 32, 32))
    pixels = np.stack([pixel(number, k, *places) for number in range(6) for k in range(2)])
    expected_mean = pixels[:10].mean(axis=0, keepdims=True)
    np.testing.assert_allclose(mean["mean"], expected_mean, rtol=1e-6)
    np.testing.assert_allclose(train["data"], pixels[:10] - expected_mean, atol=1e-4)
    np.testing.assert_allclose(test["data"], pixels[10:] - expected_mean, atol=1e-4)
    np.testing.assert_array_equal(test["data"] + mean["mean"], pixels[10:])
    assert (out / "train.txt").read_text() == "train.hdf5\n"


def test_missing(tmp_path, source):
    (source / "data_batch_3.bin").unlink()
    (source / "data_batch_5.bin").unlink()
    with pytest.raises(FileError, match=r"in: holds no data_batch_3.bin, data_batch_5.bin. .*binary version"):
        cifar10.convert(source, tmp_path / "out")
    with pytest.raises(FileError, match="no copy inside Mocha"):
        cifar10.convert(None, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("size", [0, 1, 3072, 3074, 2 * 3073 - 1])
def test_not_whole_records(tmp_path, source, size):
    (source / "test_batch.bin").write_bytes(bytes(size))
    with pytest.raises(FileError, match=rf"test_batch.bin: has {size} bytes, expected a multiple of 3073"):
        cifar10.convert(source, tmp_path / "out")


def test_absurdly_large(tmp_path, source):
    with (source / "test_batch.bin").open("wb") as file:
        file.truncate(3073 * 10_000_000)  # sparse: 30 GB that take no room
    with pytest.raises(FileError, match="30730000000 bytes"):
        cifar10.convert(source, tmp_path / "out")


def test_label_out_of_range(tmp_path, source):
    (source / "data_batch_2.bin").write_bytes(bytes(3073) + bytes([10]) + bytes(3072))
    with pytest.raises(DataError, match=r"data_batch_2.bin: sample 1 .* has label 10, expected 0 to 9; 1 labels"):
        cifar10.convert(source, tmp_path / "out")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs")
def test_pipes_and_devices_are_not_opened(tmp_path):
    for number in range(1, 6):
        os.mkfifo(tmp_path / f"data_batch_{number}.bin")
    (tmp_path / "test_batch.bin").symlink_to("/dev/zero")
    with pytest.raises(FileError, match=r"holds no data_batch_1.bin"):
        cifar10.convert(tmp_path, tmp_path / "out")
