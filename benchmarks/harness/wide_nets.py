"""More nets as data: those of which a framework that is tuned for the reference nets may think less.

Wide and tiny inner products, convolutions in groups, of one pixel, of stride 2, of signals, and of large images.
"""

from __future__ import annotations

from harness.nets import CLASSES, Add, Conv, Dense, Layer, Net, Pool


def mlp(name: str, inputs: int, *hidden: int, outputs: int = CLASSES) -> Net:
    layers = (Dense(f"ip{i}", size, relu=True) for i, size in enumerate(hidden, 1))
    return Net(name, (inputs,), (*layers, Dense("scores", outputs)))


BIG_MLP = mlp("MLP 784-2048-2048-10", 784, 2048, 2048)
HUGE_MLP = mlp("MLP 3072-4096-4096-4096-10", 3072, 4096, 4096, 4096)
#: What a table's row costs. It has one output, so that it only predicts: a softmax of it has nothing to learn.
TABLE_MLP = mlp("MLP 20-64-32-1", 20, 64, 32, outputs=1)


def separable(name: str, channels: int, filters: int, stride: int = 1) -> tuple[Layer, ...]:
    """A convolution within each channel, and one of single pixels over all of them."""
    return (
        Conv(f"{name}depth", channels, 3, pad=1, stride=stride, groups=channels, relu=True),
        Conv(f"{name}point", filters, 1, relu=True),
    )


MOBILENET = Net(
    "MobileNet-like",
    (3, 64, 64),
    (
        Conv("conv1", 32, 3, pad=1, stride=2, relu=True),
        *separable("block1", 32, 64),
        *separable("block2", 64, 128, stride=2),
        *separable("block3", 128, 128),
        *separable("block4", 128, 256, stride=2),
        *separable("block5", 256, 256),
        *separable("block6", 256, 512, stride=2),
        *separable("block7", 512, 512),
        Pool("pool", "mean", 4, 4),
        Dense("scores", CLASSES),
    ),
)


def resnet_block(name: str, skip: str, filters: int, stride: int = 1) -> tuple[Layer, ...]:
    """Two convolutions and a skip around them, which is a convolution of single pixels where the size changes."""
    first = Conv(f"{name}a", filters, 3, pad=1, stride=stride, relu=True, bottom=skip)
    second = Conv(f"{name}b", filters, 3, pad=1)
    if stride == 1:
        return first, second, Add(name, skip, relu=True)
    return first, second, Conv(f"{name}skip", filters, 1, stride=stride, bottom=skip), Add(name, f"{name}b", relu=True)


#: Without batch normalisation, and without the padding of its pooling.
RESNET18 = Net(
    "ResNet-18 without BN",
    (3, 64, 64),
    (
        Conv("conv1", 64, 7, pad=3, stride=2, relu=True),
        Pool("pool1", "max", 3, 2),
        *resnet_block("block1", "pool1", 64),
        *resnet_block("block2", "block1", 64),
        *resnet_block("block3", "block2", 128, stride=2),
        *resnet_block("block4", "block3", 128),
        *resnet_block("block5", "block4", 256, stride=2),
        *resnet_block("block6", "block5", 256),
        *resnet_block("block7", "block6", 512, stride=2),
        *resnet_block("block8", "block7", 512),
        Pool("pool2", "mean", 2, 2),
        Dense("scores", CLASSES),
    ),
)

SIGNAL = Net(
    "1-D net",
    (8, 1, 256),
    (
        Conv("conv1", 64, 9, pad=4, relu=True, signal=True),
        Pool("pool1", "max", 2, 2, signal=True),
        Conv("conv2", 64, 9, pad=4, relu=True, signal=True),
        Pool("pool2", "max", 2, 2, signal=True),
        Conv("conv3", 128, 9, pad=4, relu=True, signal=True),
        Pool("pool3", "mean", 64, 64, signal=True),
        Dense("scores", CLASSES),
    ),
)

STRIDE2 = Net(
    "stride-2 net",
    (3, 64, 64),
    (
        Conv("conv1", 32, 3, pad=1, stride=2, relu=True),
        Conv("conv2", 64, 3, pad=1, stride=2, relu=True),
        Conv("conv3", 128, 3, pad=1, stride=2, relu=True),
        Conv("conv4", 256, 3, pad=1, stride=2, relu=True),
        Dense("scores", CLASSES),
    ),
)

POINTWISE = Net(
    "1x1-heavy net",
    (3, 32, 32),
    (
        Conv("conv1", 64, 3, pad=1, stride=2, relu=True),
        *(Conv(f"conv{i}", 128, 1, relu=True) for i in range(2, 7)),
        Pool("pool", "mean", 16, 16),
        Dense("scores", CLASSES),
    ),
)

LARGE_IMAGES = Net(
    "256x256 images",
    (3, 256, 256),
    (
        Conv("conv1", 16, 3, pad=1, relu=True),
        Conv("conv2", 16, 3, pad=1, relu=True),
        Pool("pool1", "max", 2, 2),
        Conv("conv3", 32, 3, pad=1, relu=True),
        Conv("conv4", 32, 3, pad=1, relu=True),
        Pool("pool2", "max", 2, 2),
        Pool("pool3", "mean", 64, 64),
        Dense("scores", CLASSES),
    ),
)
