"""What this distribution registers. Imports nothing but the core's marker."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mocha_core import hookimpl

if TYPE_CHECKING:
    from mocha_core.registry import Candidates, Registry

KERNELS = {
    "exponential": "neurons:neuron",
    "inner_product": "inner_product:inner_product",
    "lrelu": "neurons:neuron",
    "lrn_across_channel": "lrn:across_channel",
    "lrn_within_channel": "lrn:within_channel",
    "max_channel_pooling": "pooling:max_channel_pooling",
    "max_pooling": "pooling:max_pooling",
    "mean_channel_pooling": "pooling:mean_channel_pooling",
    "mean_pooling": "pooling:mean_pooling",
    "relu": "neurons:neuron",
    "sigmoid": "neurons:neuron",
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
