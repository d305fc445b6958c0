"""The reference nets as data: one description, from which every contestant builds the same net.

A layer reads the output of the one before it, images are (N, channels, height, width), and everything is square.
"""

from __future__ import annotations

from dataclasses import dataclass
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


@dataclass(frozen=True)
class Pool:
    """The last window may run over the border of the image; a mean counts only what is inside."""

    name: str
    kind: str  # "max" or "mean"
    kernel: int
    stride: int
    relu: bool = False


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
        found, x = [], self.shape
        for layer in self.layers:
            y = output_shape(layer, x)
            found.append((x, y))
            x = y
        return found

    def weights(self, seed: int = 1) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Weights and biases by layer, so large that scores depend on all of them; biases are not zero either.

        The last layer's are smaller, so that training does not begin with a leap.
        """
        random, found = np.random.default_rng(seed), {}
        for layer, (x, y) in zip(self.layers, self.shapes()):
            if isinstance(layer, Conv | Dense):
                shape = (y[0], x[0], layer.kernel, layer.kernel) if isinstance(layer, Conv) else (y[0], prod(x))
                gain = 0.1 if layer.name == self.output else 2
                w = random.standard_normal(shape) * (gain / prod(shape[1:])) ** 0.5
                found[layer.name] = w.astype("float32"), (0.1 * random.standard_normal(y[0])).astype("float32")
        return found

    def minibatches(self, batch: int, count: int, seed: int = 2) -> tuple[np.ndarray, np.ndarray]:
        """Images (count * batch, ...) and their labels: noise, the time does not depend on them."""
        random = np.random.default_rng(seed)
        images = random.standard_normal((count * batch, *self.shape), dtype="float32")
        return images, random.integers(0, CLASSES, count * batch)

    def flop(self, batch: int, training: bool) -> float:
        """Multiplications and additions of convolutions and inner products, as direct summation needs them.

        Training does each of them three times, but for the gradient of the data.
        """
        forward = [batch * multiply_adds(layer, x, y) * 2 for layer, (x, y) in zip(self.layers, self.shapes())]
        return sum(forward) * 3 - next(filter(None, forward)) if training else sum(forward)


def output_shape(layer: Layer, x: tuple[int, ...]) -> tuple[int, ...]:
    match layer:
        case Conv():
            return layer.filters, *(size + 2 * layer.pad - layer.kernel + 1 for size in x[1:])
        case Pool():
            return x[0], *(ceil((size - layer.kernel) / layer.stride) + 1 for size in x[1:])
        case Dense():
            return (layer.outputs,)
    return x


def multiply_adds(layer: Layer, x: tuple[int, ...], y: tuple[int, ...]) -> int:
    match layer:
        case Conv():
            return prod(y) * x[0] * layer.kernel**2
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
