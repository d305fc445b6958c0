"""Mocha's standard layers, ops, neurons, initializers, regularizers and transformers."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mocha_layers_std.accuracy import AccuracyLayer as AccuracyLayer
    from mocha_layers_std.channel_pooling import ChannelPoolingLayer as ChannelPoolingLayer
    from mocha_layers_std.convolution import ConvolutionLayer as ConvolutionLayer
    from mocha_layers_std.dropout import DropoutLayer as DropoutLayer
    from mocha_layers_std.element_wise import ElementWise as ElementWise
    from mocha_layers_std.element_wise import ElementWiseLayer as ElementWiseLayer
    from mocha_layers_std.initializers import ConstantInitializer as ConstantInitializer
    from mocha_layers_std.initializers import GaussianInitializer as GaussianInitializer
    from mocha_layers_std.initializers import NullInitializer as NullInitializer
    from mocha_layers_std.initializers import XavierInitializer as XavierInitializer
    from mocha_layers_std.inner_product import InnerProductLayer as InnerProductLayer
    from mocha_layers_std.lrn import LRNLayer as LRNLayer
    from mocha_layers_std.lrn import LRNMode as LRNMode
    from mocha_layers_std.memory_data import MemoryDataLayer as MemoryDataLayer
    from mocha_layers_std.multinomial_logistic_loss import MultinomialLogisticLossLayer as MultinomialLogisticLossLayer
    from mocha_layers_std.neurons.exponential import Exponential as Exponential
    from mocha_layers_std.neurons.identity import Identity as Identity
    from mocha_layers_std.neurons.lrelu import LReLU as LReLU
    from mocha_layers_std.neurons.relu import ReLU as ReLU
    from mocha_layers_std.neurons.sigmoid import Sigmoid as Sigmoid
    from mocha_layers_std.neurons.tanh import Tanh as Tanh
    from mocha_layers_std.pooling import Pooling as Pooling
    from mocha_layers_std.pooling import PoolingLayer as PoolingLayer
    from mocha_layers_std.power import PowerLayer as PowerLayer
    from mocha_layers_std.regularizers import L1Regu as L1Regu
    from mocha_layers_std.regularizers import L2Regu as L2Regu
    from mocha_layers_std.regularizers import NoRegu as NoRegu
    from mocha_layers_std.softmax import SoftmaxLayer as SoftmaxLayer
    from mocha_layers_std.softmax_loss import SoftmaxLossLayer as SoftmaxLossLayer
    from mocha_layers_std.split import SplitLayer as SplitLayer
    from mocha_layers_std.square_loss import SquareLossLayer as SquareLossLayer
    from mocha_layers_std.transformers import Mirror as Mirror
    from mocha_layers_std.transformers import Scale as Scale
    from mocha_layers_std.transformers import SubMean as SubMean

LAYERS = {
    "AccuracyLayer": "accuracy",
    "ChannelPoolingLayer": "channel_pooling",
    "ConvolutionLayer": "convolution",
    "DropoutLayer": "dropout",
    "ElementWise": "element_wise",
    "ElementWiseLayer": "element_wise",
    "InnerProductLayer": "inner_product",
    "LRNLayer": "lrn",
    "LRNMode": "lrn",
    "MemoryDataLayer": "memory_data",
    "MultinomialLogisticLossLayer": "multinomial_logistic_loss",
    "Pooling": "pooling",
    "PoolingLayer": "pooling",
    "PowerLayer": "power",
    "SoftmaxLayer": "softmax",
    "SoftmaxLossLayer": "softmax_loss",
    "SplitLayer": "split",
    "SquareLossLayer": "square_loss",
}
NEURONS = {
    "Exponential": "neurons.exponential",
    "Identity": "neurons.identity",
    "LReLU": "neurons.lrelu",
    "ReLU": "neurons.relu",
    "Sigmoid": "neurons.sigmoid",
    "Tanh": "neurons.tanh",
}
INITIALIZERS = dict.fromkeys(
    ["ConstantInitializer", "GaussianInitializer", "NullInitializer", "XavierInitializer"], "initializers"
)
REGULARIZERS = dict.fromkeys(["L1Regu", "L2Regu", "NoRegu"], "regularizers")
TRANSFORMERS = dict.fromkeys(["Mirror", "Scale", "SubMean"], "transformers")

_MODULES = LAYERS | NEURONS | INITIALIZERS | REGULARIZERS | TRANSFORMERS
__all__ = list(_MODULES)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULES])
