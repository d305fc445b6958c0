"""Writes the full Fashion-MNIST in the exact form of CIFAR-10's binary version.

With it the CIFAR-10 example runs on real images if CIFAR-10 itself is not available. Each image of 28 x 28 grey
pixels is interpolated to 32 x 32 and repeated in red, green and blue.

    python examples/cifar10/fashion_as_cifar.py /usr/share/datasets/fashion-mnist data/fashion-cifar-bin
    mocha data cifar10 --from data/fashion-cifar-bin --to data/cifar10
    python examples/cifar10/train.py
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from mocha_datasets.idx import read_idx
from numpy.typing import NDArray

FILES = {"train": [f"data_batch_{number}.bin" for number in range(1, 6)], "t10k": ["test_batch.bin"]}


def interpolation(size: int, wanted: int) -> NDArray[np.float64]:
    """The matrix (wanted, size) of linear interpolation. It keeps both ends."""
    place = np.linspace(0, size - 1, wanted)
    distance: NDArray[np.float64] = np.abs(place[:, None] - np.arange(size))
    return np.maximum(0, 1 - distance)


def records(images: NDArray[np.uint8], labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Records (N, 3073) of a label and three equal planes of 32 x 32 bytes."""
    resize = interpolation(28, 32)
    plane = np.rint(resize @ images @ resize.T).astype(np.uint8).reshape(-1, 1024)
    return np.hstack([labels[:, None], plane, plane, plane])


def main() -> None:
    """Convert both parts."""
    parser = argparse.ArgumentParser(description="Write Fashion-MNIST as CIFAR-10 binary files.")
    parser.add_argument("source", type=Path, help="folder of Fashion-MNIST's four .gz files")
    parser.add_argument("target", type=Path, help="folder to write to")
    options = parser.parse_args()
    options.target.mkdir(parents=True, exist_ok=True)
    for part, names in FILES.items():
        images = read_idx(options.source / f"{part}-images-idx3-ubyte.gz", (28, 28))
        labels = read_idx(options.source / f"{part}-labels-idx1-ubyte.gz", ())
        pieces = zip(names, np.array_split(images, len(names)), np.array_split(labels, len(names)))
        for name, some_images, some_labels in pieces:
            records(some_images, some_labels).tofile(options.target / name)
            print(options.target / name)


if __name__ == "__main__":
    main()
