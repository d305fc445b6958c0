"""Fashion-MNIST: pictures of Zalando's articles, in the files and the shape of MNIST."""

from .idx_images import IDXImages


class FashionMNIST(IDXImages):
    """70,000 pictures of clothes."""

    description = "70,000 pictures of clothes, 1 x 28 x 28, a harder MNIST"
    origin = (
        "train-images-idx3-ubyte.gz and its three siblings from github.com/zalandoresearch/fashion-mnist, "
        "or from Debian's package dataset-fashion-mnist, in /usr/share/datasets/fashion-mnist"
    )


convert = FashionMNIST().convert
