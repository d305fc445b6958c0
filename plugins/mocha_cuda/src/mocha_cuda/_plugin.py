"""What this distribution registers. Imports nothing but the core's marker."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mocha_core import hookimpl

if TYPE_CHECKING:
    from mocha_core.registry import Candidates, Registry

KERNELS = {
    "accuracy": "accuracy:accuracy",
    "add": "element_wise:element_wise",
    "convolution": "convolution:convolution",
    "divide": "element_wise:element_wise",
    "dropout": "dropout:dropout",
    "exponential": "neurons:neuron",
    "gather_labels": "gather:gather_labels",
    "inner_product": "inner_product:inner_product",
    "lrelu": "neurons:neuron",
    "lrn_across_channel": "lrn:across_channel",
    "lrn_within_channel": "lrn:within_channel",
    "max_channel_pooling": "pooling:max_channel_pooling",
    "max_pooling": "pooling:max_pooling",
    "mean_channel_pooling": "pooling:mean_channel_pooling",
    "mean_pooling": "pooling:mean_pooling",
    "mocha.check_finite": "structural:check_finite",
    "mocha.fill": "structural:fill",
    "mocha.gather": "gather:gather",
    "mocha.labels": "structural:labels",
    "mocha.objective": "structural:objective",
    "multinomial_logistic_loss": "losses:multinomial_logistic_loss",
    "multiply": "element_wise:element_wise",
    "power": "power:power",
    "relu": "neurons:neuron",
    "sgd": "sgd:sgd",
    "sigmoid": "neurons:neuron",
    "softmax": "softmax:softmax",
    "softmax_loss": "losses:softmax_loss",
    "softmax_loss_step": "loss_step:softmax_loss_step",
    "square_loss": "losses:square_loss",
    "subtract": "element_wise:element_wise",
    "tanh": "neurons:neuron",
}
#: Op and half on which a rewrite with ReLU is anchored; it asks the other op's kernel.
WITH_RELU = [
    ("convolution", "forward", "rectify"),
    ("inner_product", "forward", "rectify"),
    ("max_pooling", "backward", "mask_top"),
    ("max_pooling", "forward", "rectify"),
    ("mean_pooling", "backward", "mask_top"),
    ("mean_pooling", "forward", "rectify"),
    ("relu", "backward", "mask_bottom"),
]


@hookimpl
def mocha_register_backends(backends: Registry) -> None:
    # Before all others where there is a GPU.
    backends.add("cuda", "mocha_cuda.backend:CUDABackend", priority=2, available="mocha_cuda.requirements:unavailable")


@hookimpl
def mocha_register_kernels(kernels: Candidates) -> None:
    for op, target in KERNELS.items():
        kernels.add(op, "cuda", f"mocha_cuda.{target}")
    for op in ("masked_backward", "then_relu"):
        kernels.add(op, "cuda", f"mocha_layers_std.rectified:{op}")


@hookimpl
def mocha_register_fusions(fusions: Candidates) -> None:
    for op, half, rewrite in WITH_RELU:
        fusions.add(op, half, "cuda", f"mocha_layers_std.rectified:{rewrite}")
    fusions.add("mocha.labels", "forward", "cuda", "mocha_cuda.gather:with_labels")
    fusions.add("softmax_loss", "backward", "cuda", "mocha_layers_std.loss_step:one_step")
    fusions.add("mocha.check_finite", "forward", "cuda", "mocha_layers_std.loss_step:checked_step")
