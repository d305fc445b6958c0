"""A small use of each standard layer, to compare backends. Layers are found by name: the kit imports no plugin."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mocha_core import layers, neurons
from mocha_core.describe.layer import Layer
from mocha_core.errors import UnknownNameError
from mocha_core.testing.inputs import distinct, labels, probabilities

_IMAGES = (3, 4, 5, 6)
_XY: Mapping[str, Any] = {"bottoms": ["x"], "tops": ["y"]}
_LABELLED: Mapping[str, Any] = {"bottoms": ["x", "label"]}


def _neuron(name: str) -> tuple[Callable[[], Layer], Sequence[Any]]:
    return lambda: layers.SplitLayer(neuron=getattr(neurons, name)(), **_XY), [(4, 5)]


def _two_blobs(name: str) -> tuple[Callable[[], Layer], Sequence[Any]]:
    def make() -> Layer:
        return layers.ElementWiseLayer(operation=getattr(layers.ElementWise, name), bottoms=["a", "b"], tops=["y"])

    return make, [(4, 5), distinct((4, 5), 3, 0.5, 2.0)]


#: A function that makes each layer, and its bottoms: arrays, or shapes to be filled.
CASES: Mapping[str, tuple[Callable[[], Layer], Sequence[Any]]] = {
    "convolution": (
        lambda: layers.ConvolutionLayer(n_filter=6, kernel=(3, 2), stride=(2, 1), pad=(1, 0), n_group=2, **_XY),
        [_IMAGES],
    ),
    "1x1 convolution": (
        lambda: layers.ConvolutionLayer(n_filter=2, kernel=(1, 1), neuron=neurons.ReLU(), **_XY),
        [_IMAGES],
    ),
    # Backends compute narrow layers, such as the last of a classifier, in other ways than wide ones.
    "inner product": (lambda: layers.InnerProductLayer(output_dim=3, **_XY), [(4, 2, 3)]),
    "wide inner product": (lambda: layers.InnerProductLayer(output_dim=40, neuron=neurons.ReLU(), **_XY), [(4, 2, 3)]),
    "max pooling": (lambda: layers.PoolingLayer(kernel=(3, 2), stride=(2, 2), pad=(1, 1), **_XY), [_IMAGES]),
    "mean pooling": (
        lambda: layers.PoolingLayer(kernel=(3, 2), stride=(2, 2), pad=(1, 1), pooling=layers.Pooling.Mean, **_XY),
        [_IMAGES],
    ),
    "max channel pooling": (lambda: layers.ChannelPoolingLayer(kernel=3, stride=2, **_XY), [(3, 5, 2, 2)]),
    "mean channel pooling": (
        lambda: layers.ChannelPoolingLayer(kernel=2, stride=1, pooling=layers.Pooling.Mean, **_XY),
        [(3, 5, 2, 2)],
    ),
    "LRN across channels": (lambda: layers.LRNLayer(kernel=3, **_XY), [_IMAGES]),
    "LRN within channels": (lambda: layers.LRNLayer(kernel=3, mode=layers.LRNMode.WithinChannel, **_XY), [_IMAGES]),
    "dropout": (lambda: layers.DropoutLayer(**_XY), [(7, 11)]),
    "softmax": (lambda: layers.SoftmaxLayer(**_XY), [(3, 4, 2)]),
    "power": (lambda: layers.PowerLayer(power=3, scale=0.5, shift=1, **_XY), [(4, 5)]),
    "square": (lambda: layers.PowerLayer(power=2, **_XY), [(4, 5)]),
    "split": (lambda: layers.SplitLayer(bottoms=["x"], tops=["y", "z"]), [(4, 5)]),
    **{f"{name.lower()} two blobs": _two_blobs(name) for name in ("Add", "Subtract", "Multiply", "Divide")},
    **{name: _neuron(name) for name in ("ReLU", "LReLU", "Sigmoid", "Tanh", "Exponential", "Identity")},
    "softmax loss": (lambda: layers.SoftmaxLossLayer(weight=0.5, **_LABELLED), [(5, 4), labels((5,), 4)]),
    "softmax loss of positions": (lambda: layers.SoftmaxLossLayer(**_LABELLED), [(3, 4, 2, 2), labels((3, 2, 2), 4)]),
    "multinomial logistic loss": (
        lambda: layers.MultinomialLogisticLossLayer(**_LABELLED),
        [probabilities((5, 4)), labels((5,), 4)],
    ),
    "square loss": (lambda: layers.SquareLossLayer(**_LABELLED), [(4, 3), (4, 3)]),
    "accuracy": (lambda: layers.AccuracyLayer(**_LABELLED), [(5, 4), labels((5,), 4)]),
}


def make(name: str) -> Layer | str:
    """The layer of a case; or, if no installed plugin has it, a text that says what is missing."""
    try:
        return CASES[name][0]()
    except UnknownNameError as error:
        return str(error)
