"""The registrations of this distribution. This module imports nothing but the core's marker."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mocha_core import hookimpl

if TYPE_CHECKING:
    from mocha_core.api import Candidates, Registry

KERNELS = {
    "add": "element_wise:Add",
    "convolution": "convolution:Convolution",
    "divide": "element_wise:Divide",
    "dropout": "dropout:Dropout",
    "exponential": "neurons:Exponential",
    "inner_product": "inner_product:InnerProduct",
    "lrelu": "neurons:LReLU",
    "lrn_across_channel": "lrn:LRNAcrossChannel",
    "lrn_within_channel": "lrn:LRNWithinChannel",
    "max_channel_pooling": "channel_pooling:MaxChannelPooling",
    "max_pooling": "pooling:MaxPooling",
    "mean_channel_pooling": "channel_pooling:MeanChannelPooling",
    "mean_pooling": "pooling:MeanPooling",
    "multiply": "element_wise:Multiply",
    "power": "power:Power",
    "relu": "neurons:ReLU",
    "sgd": "sgd:SGD",
    "sigmoid": "neurons:Sigmoid",
    "softmax": "softmax:Softmax",
    "softmax_loss": "softmax_loss:SoftmaxLoss",
    "subtract": "element_wise:Subtract",
    "tanh": "neurons:Tanh",
}


@hookimpl
def mocha_register_backends(backends: Registry) -> None:
    backends.add("cpu", "mocha_cpu.backend:CPUBackend", priority=0)


@hookimpl
def mocha_register_kernels(kernels: Candidates) -> None:
    for op, target in KERNELS.items():
        kernels.add(op, "cpu", f"mocha_cpu.{target}")
