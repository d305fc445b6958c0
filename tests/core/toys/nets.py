"""Nets that use every feature of the core at once, over data that can be learned."""

from __future__ import annotations

import numpy as np

from toys.accuracy import AccuracyLayer
from toys.convolution import ConvolutionLayer
from toys.dropout import DropoutLayer
from toys.half import HalfLayer
from toys.inner_product import InnerProductLayer
from toys.memory import MemoryLayer
from toys.pooling import PoolingLayer
from toys.product import SquareLayer
from toys.relu import ReluLayer, ReluNeuron
from toys.softmax_loss import SoftmaxLossLayer
from toys.square_loss import SquareLossLayer
from toys.standardize import StandardizeLayer

BATCH = 6
ROWS = 20


def rows(n=ROWS, seed=5):
    """Images (n, 2, 8, 8), labels (n,) among three, targets (n, 3)."""
    random = np.random.default_rng(seed)
    images = random.standard_normal((n, 2, 8, 8))
    scores = np.stack([images[:, 0, :4].mean((1, 2)), images[:, 1, 4:].mean((1, 2)), images[:, 0, 4:].mean((1, 2))], 1)
    return images, scores.argmax(1), scores


def data(batch=BATCH, n=ROWS, **options):
    return MemoryLayer(name="data", batch_size=batch, arrays=rows(n), tops=("data", "label", "target"), **options)


def dense(bottom="data", top="x", dim=3, **options):
    return InnerProductLayer(name=top, output_dim=dim, bottoms=[bottom], tops=[top], **options)


def body(*, statistics=True, dropout=True):
    """Shared layers, from "data" to "scores" (N, 3) and "side" (N, 3).

    The pooled blob is read by an inner product in lanes, by a product with itself (plain), and by a view (plain).
    """
    relu = ReluNeuron()
    layers = [
        ConvolutionLayer(name="conv1", n_filter=3, neuron=relu, bottoms=["data"], tops=["conv1"]),
        PoolingLayer(name="pool1", bottoms=["conv1"], tops=["pool1"]),
        ConvolutionLayer(name="conv2", n_filter=3, kernel=1, bottoms=["pool1"], tops=["conv2"]),
        ReluLayer(name="relu2", bottoms=["conv2"], tops=["conv2"]),
        InnerProductLayer(name="ip1", output_dim=5, bottoms=["conv2"], tops=["ip1"]),
        HalfLayer(name="half", bottoms=["ip1"], tops=["half"]),
        InnerProductLayer(name="tied1", output_dim=5, param_key="tied", neuron=relu, bottoms=["half"], tops=["tied1"]),
        InnerProductLayer(name="tied2", output_dim=5, param_key="tied", bottoms=["tied1"], tops=["tied2"]),
        InnerProductLayer(name="scores", output_dim=3, bottoms=["tied2"], tops=["scores"]),
        SquareLayer(name="square", bottoms=["conv2"], tops=["square"]),
        InnerProductLayer(name="side", output_dim=3, flatten=True, bottoms=["square"], tops=["side"]),
    ]
    if statistics:
        layers.append(StandardizeLayer(name="norm", bottoms=["ip1"], tops=["ip1"]))
    if dropout:
        layers.append(DropoutLayer(name="drop", ratio=0.25, bottoms=["tied2"], tops=["tied2"]))
    return layers


def losses():
    return [
        SoftmaxLossLayer(name="loss", bottoms=["scores", "label"], tops=["loss"]),
        SquareLossLayer(name="side-loss", weight=0.5, bottoms=["side", "target"], tops=["side-loss"]),
    ]


def accuracy(bottom="scores"):
    return [AccuracyLayer(name="accuracy", bottoms=[bottom, "label"])]
