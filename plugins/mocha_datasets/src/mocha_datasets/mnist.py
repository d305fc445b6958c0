"""MNIST, handwritten digits. This distribution includes 5,000 of them."""

from pathlib import Path

from .idx_images import IDXImages

EMBEDDED = Path(__file__).with_name("mnist_5k")
"""The folder of 4,000 training and 1,000 test images, as IDX files; LICENSE.md there names their authors."""


class MNIST(IDXImages):
    """70,000 handwritten digits; without a source, the 5,000 embedded ones."""

    description = "70,000 handwritten digits, 1 x 28 x 28; without --from, 5,000 of them, inside this package"
    origin = (
        "train-images-idx3-ubyte.gz and its three siblings from https://yann.lecun.com/exdb/mnist/ "
        "or its mirror https://ossci-datasets.s3.amazonaws.com/mnist/"
    )

    def convert(self, source: Path | None, target: Path, force: bool = False) -> list[Path]:
        return super().convert(EMBEDDED if source is None else source, target, force)


convert = MNIST().convert
