"""The base of MNIST and its drop-in replacements: four IDX files of 28 x 28 images in ten classes."""

from pathlib import Path

from mocha_core.api import DataError, FileError, absolute

from .dataset import Dataset
from .idx import find_idx, read_idx
from .split import SPLIT_FILES, Split, check_labels
from .target import publishing, refuse_overwrite


class IDXImages(Dataset):
    """A data set in MNIST's files; pixels become float32 in [0, 1), the training set is shuffled."""

    def convert(self, source: Path | None, target: Path, force: bool = False) -> list[Path]:
        target = absolute(target)
        refuse_overwrite(target, SPLIT_FILES, force)
        folder = self.require(source)
        train, test = self._read(folder, "train").shuffled(), self._read(folder, "t10k")
        with publishing(target, SPLIT_FILES) as scratch:
            # 1/256, the scale of Mocha 0.0.2, and not 1/255.
            train.write(scratch / "train.hdf5", scale=1 / 256)
            test.write(scratch / "test.hdf5", scale=1 / 256)
        return [target / name for name in SPLIT_FILES]

    def _read(self, folder: Path, part: str) -> Split:
        images_path = self._find(folder, f"{part}-images-idx3-ubyte")
        labels_path = self._find(folder, f"{part}-labels-idx1-ubyte")
        images, labels = read_idx(images_path, (28, 28)), read_idx(labels_path, ())
        if len(images) != len(labels):
            raise DataError(
                f"{images_path} holds {len(images)} images, {labels_path} {len(labels)} labels, "
                "expected as many. Take both files from the same place"
            )
        check_labels(labels_path, labels, 10)
        return Split(images[:, None], labels)

    def _find(self, folder: Path, name: str) -> Path:
        path = find_idx(folder, name)
        if path is None:
            raise FileError(f"{folder}: holds neither {name} nor {name}.gz. {self.get_it}")
        return path
