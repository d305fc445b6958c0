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
    "inner_product": "kernels.inner_product:inner_product",
    "labels": "class_labels:labels",
    "lrn_across_channel": "kernels.lrn:across_channel",
    "lrn_within_channel": "kernels.lrn:within_channel",
    "max_channel_pooling": "kernels.pooling:max_channel_pooling",
    "max_pooling": "kernels.pooling:max_pooling",
    "mean_channel_pooling": "kernels.pooling:mean_channel_pooling",
    "mean_pooling": "kernels.pooling:mean_pooling",
    "mocha.chain": "kernels.chain:chain",
    "mocha.check_finite": "kernels.structural:check_finite",
    "mocha.commit": "kernels.structural:Commit",
    "mocha.convert": "layout:convert",
    "mocha.copy": "kernels.structural:Commit",
    "mocha.fill": "kernels.structural:fill",
    "mocha.gather": "kernels.structural:gather",
    "mocha.objective": "kernels.structural:objective",
    "native.updating_backward": "fold:updating_backward",
    "multinomial_logistic_loss": "kernels.losses:multinomial_logistic_loss",
    "sgd": "kernels.sgd:sgd",
    "softmax": "kernels.softmax:softmax",
    "softmax_loss": "kernels.losses:softmax_loss",
    "softmax_loss_step": "kernels.loss_step:softmax_loss_step",
    "square_loss": "kernels.losses:square_loss",
}
#: The name of any op, in registrations of kernels.
ANY = "*"
#: Kernels for few images. They have a higher priority than the other kernels of their ops.
SMALL = {
    "convolution": "kernels.channels_last_convolution:convolution",
    "lrn_across_channel": "kernels.channels_last_lrn:lrn",
    "lrn_within_channel": "kernels.channels_last_lrn:lrn",
    "max_channel_pooling": "kernels.channels_last_channel_pooling:channel_pooling",
    "max_pooling": "kernels.channels_last_pooling:pooling",
    "mean_channel_pooling": "kernels.channels_last_channel_pooling:channel_pooling",
    "mean_pooling": "kernels.channels_last_pooling:pooling",
}


@hookimpl
def mocha_register_backends(backends: Registry) -> None:
    # Higher than that of cpu: the same results, sooner.
    backends.add("native", "mocha_native.backend:NativeBackend", priority=1, available="mocha_native.isa:unavailable")


@hookimpl
def mocha_register_ops(ops: Registry) -> None:
    # Only fusions make these ops.
    ops.add("native.updating_backward", "mocha_native.fold:UpdatingBackward")


@hookimpl
def mocha_register_kernels(kernels: Candidates) -> None:
    for op, target in KERNELS.items():
        kernels.add(op, "native", f"mocha_native.{target}")
    for op, target in SMALL.items():
        kernels.add(op, "native", f"mocha_native.{target}", priority=3)
    for op in ("masked_backward", "then_relu"):
        kernels.add(op, "native", f"mocha_layers_std.rectified:{op}")
    kernels.add(ANY, "native", "mocha_native.kernels.traced:traced")
    kernels.add("convolution", "native", "mocha_native.kernels.pointwise:pointwise", priority=2)
    kernels.add("convolution", "native", "mocha_native.kernels.winograd:winograd", priority=1)
    kernels.add("convolution", "native", "mocha_native.kernels.channels_last_winograd:winograd", priority=4)
    kernels.add("convolution", "native", "mocha_native.kernels.depthwise:depthwise", priority=5)
    kernels.add("convolution", "native", "mocha_native.kernels.product_convolution:product_convolution", priority=6)


@hookimpl
def mocha_register_fusions(fusions: Candidates) -> None:
    fusions.add("sgd", "forward", "native", "mocha_native.fold:fold_update")
    for half in ("forward", "backward"):
        fusions.add(ANY, half, "native", "mocha_core.api:join_element_wise")
