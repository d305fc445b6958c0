"""Writes one part of an image data set, for training or for testing, as HDF5."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mocha_hdf5.writer import write_rows
from numpy.typing import NDArray

from mocha_core.api import DataError

SPLIT_FILES = ("train.hdf5", "test.hdf5", "train.txt", "test.txt")
"""The files that every data set writes; the list files come last, because they name the others."""

_CHUNK = 1000  # the number of images that are converted to float32 at a time
_SEED = 12345678  # the seed with which Mocha 0.0.2 shuffles MNIST


@dataclass(frozen=True, eq=False)
class Split:
    """`images`: (N, C, H, W) bytes; `labels`: (N,) bytes."""

    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]

    def shuffled(self) -> "Split":
        """The same samples in a shuffled order, which is always the same."""
        # RandomState, because NumPy promises never to change its stream; default_rng's may change.
        order = np.random.RandomState(_SEED).permutation(len(self.labels))
        return Split(self.images[order], self.labels[order])

    def write(self, path: Path, mean: NDArray[np.float32] | float = 0.0, scale: float = 1.0) -> None:
        """Write `path`, and beside it the list file that names it.

        `data`: (N, C, H, W) float32, `(images - mean) * scale`; `label`: (N, 1) float32.
        """
        starts = range(0, len(self.images), _CHUNK)
        blocks = ((self.images[at : at + _CHUNK].astype(np.float32) - mean) * scale for at in starts)
        label = self.labels.astype(np.float32)[:, np.newaxis]
        write_rows(path, data=(self.images.shape, blocks), label=(label.shape, [label]))
        path.with_suffix(".txt").write_text(f"{path.name}\n", encoding="utf-8")


def check_labels(path: Path, labels: NDArray[np.uint8], n_classes: int) -> None:
    """Raise `DataError` if a label that was read from `path` is not in 0..n_classes-1."""
    wrong = np.flatnonzero(labels >= n_classes)
    if wrong.size:
        raise DataError(
            f"{path}: sample {wrong[0]} (counted from 0) has label {labels[wrong[0]]}, expected 0 to "
            f"{n_classes - 1}; {wrong.size} labels are wrong. The file is damaged, or of another data set"
        )
