"""The registrations of this distribution. This module imports nothing but the core's marker."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mocha_core import hookimpl
from mocha_layers_std import INITIALIZERS, LAYERS, NEURONS, REGULARIZERS, TRANSFORMERS

if TYPE_CHECKING:
    from mocha_core.api import Candidates, Registry

OPS = {
    "accuracy": "accuracy:Accuracy",
    "add": "element_wise:Add",
    "convolution": "convolution:Convolution",
    "divide": "element_wise:Divide",
    "dropout": "dropout:Dropout",
    "exponential": "neurons.exponential:ExponentialOp",
    "inner_product": "inner_product:InnerProduct",
    "labels": "class_labels:Labels",
    "lrelu": "neurons.lrelu:LReLUOp",
    "lrn_across_channel": "lrn:LRNAcrossChannel",
    "lrn_within_channel": "lrn:LRNWithinChannel",
    "max_channel_pooling": "channel_pooling:MaxChannelPooling",
    "max_pooling": "pooling:MaxPooling",
    "mean_channel_pooling": "channel_pooling:MeanChannelPooling",
    "mean_pooling": "pooling:MeanPooling",
    "multinomial_logistic_loss": "multinomial_logistic_loss:MultinomialLogisticLoss",
    "multiply": "element_wise:Multiply",
    "power": "power:Power",
    "relu": "neurons.relu:ReLUOp",
    "sigmoid": "neurons.sigmoid:SigmoidOp",
    "softmax": "softmax:Softmax",
    "softmax_loss": "softmax_loss:SoftmaxLoss",
    "square_loss": "square_loss:SquareLoss",
    "subtract": "element_wise:Subtract",
    "tanh": "neurons.tanh:TanhOp",
}
#: Ops that only fusions make. They have no reference; a fusion without a kernel for its op is dropped.
FUSED_OPS = {
    "masked_backward": "rectified:MaskedBackward",
    "softmax_loss_step": "loss_step:SoftmaxLossStep",
    "then_relu": "rectified:ThenReLU",
}
#: Fusions for every backend that has a kernel for the fused op: the op and the half, and the rewrite.
FUSIONS = [
    ("convolution", "forward", "rectified:rectify"),
    ("inner_product", "forward", "rectified:rectify"),
    ("max_pooling", "backward", "rectified:mask_top"),
    ("max_pooling", "forward", "rectified:rectify"),
    ("mean_pooling", "backward", "rectified:mask_top"),
    ("mean_pooling", "forward", "rectified:rectify"),
    ("relu", "backward", "rectified:mask_bottom"),
    ("softmax_loss", "backward", "loss_step:one_step"),
]


def _add(registry: Registry, names: dict[str, str]) -> None:
    for name, module in names.items():
        registry.add(name, f"mocha_layers_std.{module}:{name}")


@hookimpl
def mocha_register_layers(layers: Registry) -> None:
    _add(layers, LAYERS)


@hookimpl
def mocha_register_ops(ops: Registry) -> None:
    for name, target in (OPS | FUSED_OPS).items():
        ops.add(name, f"mocha_layers_std.{target}")


@hookimpl
def mocha_register_fusions(fusions: Candidates) -> None:
    for op, half, rewrite in FUSIONS:
        fusions.add(op, half, "*", f"mocha_layers_std.{rewrite}")


@hookimpl
def mocha_register_neurons(neurons: Registry) -> None:
    _add(neurons, NEURONS)


@hookimpl
def mocha_register_initializers(initializers: Registry) -> None:
    _add(initializers, INITIALIZERS)


@hookimpl
def mocha_register_transformers(transformers: Registry) -> None:
    _add(transformers, TRANSFORMERS)


@hookimpl
def mocha_register_regularizers(regularizers: Registry) -> None:
    _add(regularizers, REGULARIZERS)
