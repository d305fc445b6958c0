"""The registrations of this distribution. This module imports nothing but the core's marker."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mocha_core import hookimpl

if TYPE_CHECKING:
    from mocha_core.api import Candidates, Registry

KERNELS = {
    "accuracy": "kernels.accuracy:accuracy",
    "clip_norm": "kernels.clipping:clip_norm",
    "clip_value": "kernels.clipping:clip_value",
    "convolution": "kernels.convolution:convolution",
    "dropout": "kernels.dropout:dropout",
    "gather_labels": "kernels.gather:gather_labels",
    "inner_product": "kernels.inner_product:inner_product",
    "labels": "class_labels:labels",
    "lrn_across_channel": "kernels.lrn:across_channel",
    "lrn_within_channel": "kernels.lrn:within_channel",
    "max_channel_pooling": "kernels.pooling:max_channel_pooling",
    "max_pooling": "kernels.pooling:max_pooling",
    "mean_channel_pooling": "kernels.pooling:mean_channel_pooling",
    "mean_pooling": "kernels.pooling:mean_pooling",
    "mocha.chain": "kernels.traced:chain",
    "mocha.check_finite": "kernels.structural:check_finite",
    "mocha.commit": "kernels.structural:commit",
    "mocha.copy": "kernels.structural:commit",
    "mocha.fill": "kernels.structural:fill",
    "mocha.gather": "kernels.gather:gather",
    "mocha.objective": "kernels.structural:objective",
    "multinomial_logistic_loss": "kernels.losses:multinomial_logistic_loss",
    "sgd": "kernels.sgd:sgd",
    "softmax": "kernels.softmax:softmax",
    "softmax_loss": "kernels.losses:softmax_loss",
    "softmax_loss_step": "kernels.loss_step:softmax_loss_step",
    "square_loss": "kernels.losses:square_loss",
}
#: The name of any op, in registrations of kernels.
ANY = "*"


@hookimpl
def mocha_register_backends(backends: Registry) -> None:
    # The highest priority, if there is a GPU.
    backends.add("cuda", "mocha_cuda.backend:CUDABackend", priority=2, available="mocha_cuda.requirements:unavailable")


@hookimpl
def mocha_register_kernels(kernels: Candidates) -> None:
    for op, target in KERNELS.items():
        kernels.add(op, "cuda", f"mocha_cuda.{target}")
    kernels.add(ANY, "cuda", "mocha_cuda.kernels.traced:traced")
    for op in ("masked_backward", "then_relu"):
        kernels.add(op, "cuda", f"mocha_layers_std.rectified:{op}")


@hookimpl
def mocha_register_fusions(fusions: Candidates) -> None:
    for half in ("forward", "backward"):
        fusions.add(ANY, half, "cuda", "mocha_core.api:join_element_wise")
    fusions.add("labels", "forward", "cuda", "mocha_cuda.kernels.gather:with_labels")
    fusions.add("mocha.check_finite", "forward", "cuda", "mocha_layers_std.loss_step:checked_step")
