"""The reader of IDX files: what it accepts, and what it says about what it does not."""

import gzip
import os
import struct
import tracemalloc

import numpy as np
import pytest
from mocha_datasets import idx
from mocha_datasets.idx import find_idx, read_idx

from mocha_core.errors import FileError

IMAGES = np.arange(2 * 28 * 28, dtype=np.uint32).astype(np.uint8).reshape(2, 28, 28)
HEADER = struct.pack(">IIII", 0x803, 2, 28, 28)
FILE = HEADER + IMAGES.tobytes()


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize("name", ["images", "images.gz"])  # the name of a compressed file proves nothing
def test_reads_plain_and_compressed(tmp_path, pack, name):
    path = tmp_path / name
    path.write_bytes(pack(FILE))
    array = read_idx(path, (28, 28))
    assert array.dtype == np.uint8
    np.testing.assert_array_equal(array, IMAGES)


def test_reads_labels(tmp_path):
    path = tmp_path / "labels"
    path.write_bytes(struct.pack(">II", 0x801, 3) + bytes([7, 0, 9]))
    assert read_idx(path, ()).tolist() == [7, 0, 9]


@pytest.mark.parametrize(
    "name",
    ["train-images-idx3-ubyte", "train-images-idx3-ubyte.gz", "train-images.idx3-ubyte", "train-images.idx3-ubyte.gz"],
)
def test_finds_each_spelling(tmp_path, name):
    assert find_idx(tmp_path, "train-images-idx3-ubyte") is None
    (tmp_path / name).touch()
    assert find_idx(tmp_path, "train-images-idx3-ubyte") == tmp_path / name


WRONG = {
    "empty": (b"", "starts with nothing, expected 00 00 08 03"),
    "magic": (b"\x89PNG" + FILE[4:], "starts with 89 50 4e 47, expected 00 00 08 03"),
    "labels for images": (struct.pack(">II", 0x801, 3) + bytes(3), "starts with 00 00 08 01"),
    "signed": (b"\0\0\x09\x03" + FILE[4:], "starts with 00 00 09 03"),
    "short header": (HEADER[:10], "ends within its header of 16 bytes"),
    "other size": (struct.pack(">IIII", 0x803, 2, 32, 32) + bytes(2048), "2 x 32 x 32, expected N >= 1 x 28 x 28"),
    "no images": (struct.pack(">IIII", 0x803, 0, 28, 28), "0 x 28 x 28, expected N >= 1"),
    "truncated": (FILE[:-1], "promises 2 x 28 x 28 = 1568 bytes, it holds only 1567"),
    "too long": (FILE + b"\0", "= 1568 bytes, it holds more"),
    "lying": (struct.pack(">IIII", 0x803, 1_000_000, 28, 28) + bytes(5), "= 784000000 bytes, it holds only 5"),
    "absurd": (struct.pack(">IIII", 0x803, 2**32 - 1, 28, 28), "at most 1073741824 make sense"),
}


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize(("content", "message"), WRONG.values(), ids=WRONG.keys())
def test_malformed(tmp_path, pack, content, message):
    path = tmp_path / "images"
    path.write_bytes(pack(content))
    tracemalloc.start()
    try:
        with pytest.raises(FileError) as caught:
            read_idx(path, (28, 28))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)
    assert peak < 10_000_000


@pytest.mark.parametrize("damage", ["truncated", "flipped", "checksum"])
def test_damaged_gzip(tmp_path, damage):
    packed = bytearray(gzip.compress(FILE))
    if damage == "truncated":
        del packed[len(packed) // 2 :]
    else:
        packed[-6 if damage == "checksum" else len(packed) // 2] ^= 0xFF
    path = tmp_path / "images.gz"
    path.write_bytes(packed)
    with pytest.raises(FileError, match=r"images.gz: the compressed file is damaged"):
        read_idx(path, (28, 28))


def test_decompression_is_bounded(tmp_path, monkeypatch):
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(HEADER + bytes(50_000_000)))
    tracemalloc.start()
    try:
        with pytest.raises(FileError, match="it holds more"):
            read_idx(path, (28, 28))
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()
    monkeypatch.setattr(idx, "MAX_BYTES", 1000)
    path.write_bytes(gzip.compress(FILE))
    with pytest.raises(FileError, match="at most 1000 make sense"):
        read_idx(path, (28, 28))


def test_unreadable(tmp_path):
    with pytest.raises(FileError, match="cannot be read"):
        read_idx(tmp_path, ())


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs")
def test_pipes_and_devices_are_not_opened(tmp_path):
    os.mkfifo(tmp_path / "train-images-idx3-ubyte")
    (tmp_path / "train-labels-idx1-ubyte").symlink_to("/dev/zero")
    for path in tmp_path.iterdir():
        with pytest.raises(FileError, match="cannot be read: it is no regular file"):
            read_idx(path, (28, 28))
        assert find_idx(tmp_path, path.name) is None
