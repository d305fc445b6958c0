"""CIFAR-10 from its binary version: records of a label and a 32 x 32 picture, planes of red, green, blue."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from mocha_hdf5.writer import write_rows
from numpy.typing import NDArray

from mocha_core.api import FileError, absolute, open_regular

from .dataset import Dataset
from .split import SPLIT_FILES, Split, check_labels
from .target import publishing, refuse_overwrite

_SHAPE = (3, 32, 32)
_RECORD = 1 + 3 * 32 * 32
_MAX_BYTES = 1 << 30  # the maximum of one file; the original files have 30 million
_TRAIN = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
_TEST = ("test_batch.bin",)


class CIFAR10(Dataset):
    """60,000 colour pictures of ten kinds of things.

    Pixels become float32, 0 to 255, less the mean training image. They are not divided, because the example in
    examples/cifar10 trains on them like that. The mean goes to `mean.hdf5` as `mean`, (1, 3, 32, 32) float32. The
    order stays the same, because the original is shuffled.
    """

    description = "60,000 colour pictures of animals and vehicles, 3 x 32 x 32"
    origin = (
        "cifar-10-binary.tar.gz from https://www.cs.toronto.edu/~kriz/cifar.html, unpacked: "
        "the binary version, not the Python or the Matlab one"
    )

    def convert(self, source: Path | None, target: Path, force: bool = False) -> list[Path]:
        names = ("mean.hdf5", *SPLIT_FILES)
        target = absolute(target)
        refuse_overwrite(target, names, force)
        folder = self.require(source)
        train, test = self._read(folder, _TRAIN), self._read(folder, _TEST)
        mean = (train.images.sum(axis=0, dtype=np.int64) / len(train.images)).astype(np.float32)
        with publishing(target, names) as scratch:
            write_rows(scratch / "mean.hdf5", mean=((1, *mean.shape), [mean[np.newaxis]]))
            train.write(scratch / "train.hdf5", mean=mean)
            test.write(scratch / "test.hdf5", mean=mean)
        return [target / name for name in names]

    def _read(self, folder: Path, names: Sequence[str]) -> Split:
        paths = [folder / name for name in names]
        missing = [path.name for path in paths if not path.is_file()]
        if missing:
            raise FileError(f"{folder}: holds no {', '.join(missing)}. {self.get_it}")
        try:
            records = _read_records(paths)
        except FileError:
            raise
        except OSError as error:
            raise FileError(f"{folder}: cannot be read: {error}") from error
        # Views, so that neither the labels nor the pixels are copied.
        return Split(records[:, 1:].reshape(-1, *_SHAPE), records[:, 0])


def _read_records(paths: Sequence[Path]) -> NDArray[np.uint8]:
    """The records (N, 3073) of all files, one after the other."""
    counts = [_count(path) for path in paths]
    records = np.empty((sum(counts), _RECORD), np.uint8)
    start = 0
    for path, count in zip(paths, counts, strict=True):
        rows = records[start : start + count]
        with open_regular(path) as stream:
            if stream.readinto(rows.data) != rows.nbytes:
                raise FileError(f"{path}: became shorter while it was read. Convert again")
        check_labels(path, rows[:, 0], 10)
        start += count
    return records


def _count(path: Path) -> int:
    with open_regular(path) as stream:
        size = os.fstat(stream.fileno()).st_size
    if size == 0 or size % _RECORD or size > _MAX_BYTES:
        raise FileError(
            f"{path}: has {size} bytes, expected a multiple of {_RECORD} (a label and 3 x 32 x 32 pixels), "
            f"{10_000 * _RECORD} in the original. Unpack it again, from the binary version"
        )
    return size // _RECORD


convert = CIFAR10().convert
