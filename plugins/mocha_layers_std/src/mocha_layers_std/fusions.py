"""What a backend registers that takes part in the fusions of the standard ops. Imports none of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mocha_core.registry import Candidates

#: Op and half on which a rewrite is anchored; it asks the kernels whether they take part.
REWRITES = [
    ("convolution", "forward", "rectified:rectify"),
    ("inner_product", "forward", "rectified:rectify"),
    ("max_pooling", "backward", "rectified:mask_top"),
    ("max_pooling", "forward", "rectified:rectify"),
    ("mean_pooling", "backward", "rectified:mask_top"),
    ("mean_pooling", "forward", "rectified:rectify"),
    ("relu", "backward", "rectified:mask_bottom"),
    ("softmax_loss", "backward", "loss_step:one_step"),
]


def register_kernels(kernels: Candidates, backend: str) -> None:
    """Those of the ops that rewrites with ReLU make: they ask the backend's kernels of the ops that they replace."""
    for op in ("masked_backward", "then_relu"):
        kernels.add(op, backend, f"mocha_layers_std.rectified:{op}")


def register_fusions(fusions: Candidates, backend: str) -> None:
    """The rewrites. The backend's kernel of `softmax_loss_step` is its own."""
    for op, half, rewrite in REWRITES:
        fusions.add(op, half, backend, f"mocha_layers_std.{rewrite}")
