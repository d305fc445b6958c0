"""The reference nets as data: one description, from which every contestant builds the same net.

A layer reads the output of the one before it, or of the one that it names. Images are (N, channels, height, width), and
windows are square, but for those of signals: height 1 and as wide as the kernel.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import ceil, prod

import numpy as np

CLASSES = 10


@dataclass(frozen=True)
class Conv:
    name: str
    filters: int
    kernel: int
    pad: int = 0
    relu: bool = False
    stride: int = 1
    groups: int = 1
    signal: bool = False
    bottom: str = ""
    """The layer whose output it reads, if that is not the one before it."""

    @property
    def window(self) -> tuple[int, int]:
        """(height, width), as are `pads` and `strides`."""
        return (1 if self.signal else self.kernel), self.kernel

    @property
    def pads(self) -> tuple[int, int]:
        return (0 if self.signal else self.pad), self.pad

    @property
    def strides(self) -> tuple[int, int]:
        return (1 if self.signal else self.stride), self.stride


@dataclass(frozen=True)
class Pool:
    """The last window may run over the border of the image; a mean counts only what is inside."""

    name: str
    kind: str  # "max" or "mean"
    kernel: int
    stride: int
    relu: bool = False
    signal: bool = False

    @property
    def window(self) -> tuple[int, int]:
        """(height, width), as is `strides`."""
        return (1 if self.signal else self.kernel), self.kernel

    @property
    def strides(self) -> tuple[int, int]:
        return (1 if self.signal else self.stride), self.stride

    def over(self, x: tuple[int, ...], y: tuple[int, ...]) -> tuple[int, int]:
        """By how much the last windows run over the border of x, the output being y; both without the batch."""
        rows = zip(y[1:], self.strides, self.window, x[1:])
        height, width = (max(0, (n - 1) * stride + kernel - size) for n, stride, kernel, size in rows)
        return height, width


@dataclass(frozen=True)
class LRN:
    """x * (1 + scale / kernel**2 * the sum of x**2 over a square within the channel) ** -power."""

    name: str
    kernel: int = 3
    scale: float = 5e-5
    power: float = 0.75


@dataclass(frozen=True)
class Add:
    """Adds the output of the layer `other`."""

    name: str
    other: str
    relu: bool = False


@dataclass(frozen=True)
class Dense:
    name: str
    outputs: int
    relu: bool = False


Layer = Conv | Pool | LRN | Add | Dense


@dataclass(frozen=True)
class Net:
    name: str
    shape: tuple[int, ...]
    layers: tuple[Layer, ...]

    @property
    def output(self) -> str:
        return self.layers[-1].name

    def shapes(self) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
        """What each layer reads and what it writes, without the batch."""
        found, x, known = [], self.shape, {}
        for layer in self.layers:
            x = known.get(getattr(layer, "bottom", ""), x)
            y = output_shape(layer, x)
            found.append((x, y))
            x = known[layer.name] = y
        return found

    def weights(self, seed: int = 1) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Weights and biases by layer, so large that scores depend on all of them; biases are not zero either.

        The last layer's are smaller, so that training does not begin with a leap, and so are those of convolutions
        before a sum, so that sums do not grow from block to block.
        """
        random, found = np.random.default_rng(seed), {}
        summed = {layer.name for layer, following in pairwise(self.layers) if isinstance(following, Add)}
        for layer, (x, y) in zip(self.layers, self.shapes()):
            if isinstance(layer, Conv | Dense):
                convolution = isinstance(layer, Conv)
                shape = (y[0], x[0] // layer.groups, *layer.window) if convolution else (y[0], prod(x))
                gain = 0.1 if layer.name in {self.output, *summed} else 2
                w = random.standard_normal(shape) * (gain / prod(shape[1:])) ** 0.5
                found[layer.name] = w.astype("float32"), (0.1 * random.standard_normal(y[0])).astype("float32")
        return found

    def minibatches(self, batch: int, count: int, seed: int = 2) -> tuple[np.ndarray, np.ndarray]:
        """Images (count * batch, ...) and their labels: noise, the time does not depend on them."""
        random = np.random.default_rng(seed)
        images = random.standard_normal((count * batch, *self.shape), dtype="float32")
        return images, random.integers(0, self.shapes()[-1][1][0], count * batch)

    def flop(self, batch: int, training: bool) -> float:
        """Multiplications and additions of convolutions and inner products, as direct summation needs them.

        Training does each of them three times, but for the gradient of the data.
        """
        forward = [batch * multiply_adds(layer, x, y) * 2 for layer, (x, y) in zip(self.layers, self.shapes())]
        return sum(forward) * 3 - next(filter(None, forward)) if training else sum(forward)


def output_shape(layer: Layer, x: tuple[int, ...]) -> tuple[int, ...]:
    match layer:
        case Conv():
            sizes = zip(x[1:], layer.pads, layer.window, layer.strides)
            return layer.filters, *((size + 2 * pad - kernel) // stride + 1 for size, pad, kernel, stride in sizes)
        case Pool():
            sizes = zip(x[1:], layer.window, layer.strides)
            return x[0], *(ceil((size - kernel) / stride) + 1 for size, kernel, stride in sizes)
        case Dense():
            return (layer.outputs,)
    return x


def multiply_adds(layer: Layer, x: tuple[int, ...], y: tuple[int, ...]) -> int:
    match layer:
        case Conv():
            return prod(y) * x[0] // layer.groups * prod(layer.window)
        case Dense():
            return prod(x) * prod(y)
    return 0


LENET = Net(
    "LeNet",
    (1, 28, 28),
    (
        Conv("conv1", 20, 5),
        Pool("pool1", "max", 2, 2),
        Conv("conv2", 50, 5),
        Pool("pool2", "max", 2, 2),
        Dense("ip1", 500, relu=True),
        Dense("ip2", CLASSES),
    ),
)

CIFAR10 = Net(
    "CIFAR-10 net",
    (3, 32, 32),
    (
        Conv("conv1", 32, 5, pad=2),
        Pool("pool1", "max", 3, 2, relu=True),
        LRN("norm1"),
        Conv("conv2", 32, 5, pad=2, relu=True),
        Pool("pool2", "mean", 3, 2),
        LRN("norm2"),
        Conv("conv3", 64, 5, pad=2, relu=True),
        Pool("pool3", "mean", 3, 2),
        Dense("ip1", CLASSES),
    ),
)

MLP = Net("MLP", (784,), (Dense("ip1", 500, relu=True), Dense("ip2", 500, relu=True), Dense("ip3", CLASSES)))

#: MLP's steps, with next to nothing to do.
TINY = Net("tiny MLP", (8,), (Dense("ip1", 8, relu=True), Dense("ip2", 8, relu=True), Dense("ip3", CLASSES)))


def vgg_stage(number: int, filters: int) -> tuple[Layer, ...]:
    convolutions = (Conv(f"conv{number}{letter}", filters, 3, pad=1, relu=True) for letter in "ab")
    return *convolutions, Pool(f"pool{number}", "max", 2, 2)


VGG = Net(
    "VGG-like",
    (3, 64, 64),
    (*vgg_stage(1, 64), *vgg_stage(2, 128), *vgg_stage(3, 256), Dense("ip1", 512, relu=True), Dense("ip2", CLASSES)),
)


def residual_block(name: str, skip: str, filters: int) -> tuple[Layer, ...]:
    return (
        Conv(f"{name}a", filters, 3, pad=1, relu=True),
        Conv(f"{name}b", filters, 3, pad=1),
        Add(f"{name}", skip, relu=True),
    )


RESIDUAL = Net(
    "residual net",
    (3, 32, 32),
    (
        Conv("conv1", 16, 3, pad=1, relu=True),
        *residual_block("block1", "conv1", 16),
        *residual_block("block2", "block1", 16),
        Pool("pool1", "max", 2, 2),
        Conv("conv2", 32, 3, pad=1, relu=True),
        *residual_block("block3", "conv2", 32),
        Pool("pool2", "max", 2, 2),
        Conv("conv3", 64, 3, pad=1, relu=True),
        *residual_block("block4", "conv3", 64),
        Pool("pool3", "mean", 8, 8),
        Dense("ip1", CLASSES),
    ),
)


def chain(depth: int) -> Net:
    """Layers so small that they cost nothing but being there."""
    hidden = (Dense(f"ip{i}", 8, relu=True) for i in range(depth))
    return Net(f"chain of {depth}", (8,), (*hidden, Dense("scores", CLASSES)))
