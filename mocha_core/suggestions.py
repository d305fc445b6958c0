"""Suggestions for wrong names: close names, and Mocha's names for things of other frameworks."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Mapping

#: Two names are close if their `difflib` ratio is at least this: "plian" and "plain" are, "RNN" and "LRN" are not.
CLOSE = 0.7

#: Fields of Keras, PyTorch and Caffe, and Mocha's fields for them, of which the first that the class has is suggested.
FIELDS: dict[str, tuple[str, ...]] = {
    "activation": ("neuron",),
    "alpha": ("scale",),
    "base_lr": ("lr_policy",),
    "batch": ("batch_size",),
    "beta": ("power",),
    "bias_initializer": ("bias_init",),
    "bottom": ("bottoms",),
    "device": ("backend",),
    "dir": ("directory",),
    "dilation_rate": ("dilation",),
    "dropout_ratio": ("ratio",),
    "epochs": ("max_iter",),
    "folder": ("directory",),
    "features": ("output_dim", "n_filter"),
    "filters": ("n_filter",),
    "group": ("n_group",),
    "groups": ("n_group",),
    "input": ("bottoms",),
    "inputs": ("bottoms",),
    "iter_size": ("accumulate",),
    "kernel_h": ("kernel",),
    "kernel_initializer": ("filter_init", "weight_init"),
    "kernel_regularizer": ("filter_regu", "weight_regu"),
    "kernel_size": ("kernel",),
    "kernel_w": ("kernel",),
    "learning_rate": ("lr_policy",),
    "local_size": ("kernel",),
    "lr": ("lr_policy",),
    "num_output": ("output_dim", "n_filter"),
    "out_channels": ("n_filter",),
    "out_features": ("output_dim",),
    "output": ("tops",),
    "outputs": ("tops",),
    "p": ("ratio",),
    "padding": ("pad",),
    "path": ("directory", "source"),
    "pool": ("pooling",),
    "pool_size": ("kernel",),
    "rate": ("ratio",),
    "size": ("kernel",),
    "strides": ("stride",),
    "top": ("tops",),
    "units": ("output_dim",),
    "weight_decay": ("regu_coef",),
    "weight_filler": ("filter_init", "weight_init"),
}

#: Names in other frameworks, without endings such as "Layer" and "2d", and Mocha's names with their namespaces.
NAMES: dict[str, tuple[str, str]] = {
    "activation": ("neurons", "ReLU"),
    "averagepooling": ("layers", "PoolingLayer"),
    "avgpool": ("layers", "PoolingLayer"),
    "constant": ("initializers", "ConstantInitializer"),
    "conv": ("layers", "ConvolutionLayer"),
    "crossentropyloss": ("layers", "SoftmaxLossLayer"),
    "dense": ("layers", "InnerProductLayer"),
    "eltwise": ("layers", "ElementWiseLayer"),
    "euclideanloss": ("layers", "SquareLossLayer"),
    "exp": ("neurons", "Exponential"),
    "fc": ("layers", "InnerProductLayer"),
    "fullyconnected": ("layers", "InnerProductLayer"),
    "glorotuniform": ("initializers", "XavierInitializer"),
    "leakyrelu": ("neurons", "LReLU"),
    "linear": ("layers", "InnerProductLayer"),
    "localresponsenorm": ("layers", "LRNLayer"),
    "maxpool": ("layers", "PoolingLayer"),
    "maxpooling": ("layers", "PoolingLayer"),
    "meansquarederror": ("layers", "SquareLossLayer"),
    "modelcheckpoint": ("coffee", "Snapshot"),
    "mseloss": ("layers", "SquareLossLayer"),
    "nllloss": ("layers", "MultinomialLogisticLossLayer"),
    "normal": ("initializers", "GaussianInitializer"),
    "randomnormal": ("initializers", "GaussianInitializer"),
    "softmaxwithloss": ("layers", "SoftmaxLossLayer"),
    "weightdecay": ("regularizers", "L2Regu"),
    "xavieruniform": ("initializers", "XavierInitializer"),
    "zeros": ("initializers", "ConstantInitializer"),
}

#: The namespaces in which users look for names.
NAMESPACES = (
    "layers", "neurons", "solvers", "initializers", "regularizers", "constraints", "transformers", "coffee", "backends",
)  # fmt: skip

#: Names of devices in other frameworks, and Mocha's backends for them.
BACKENDS = {"cuda:0": "cuda", "gpu": "cuda", "nvidia": "cuda", "numpy": "cpu", "c": "native", "openmp": "native"}

#: The packages of Mocha's backends.
PACKAGES = {"cpu": "mocha-cpu", "native": "mocha-native", "cuda": "mocha-cuda[cuda12]"}

_ENDING = re.compile(r"(layer|initializer|regularizer|regu|neuron|solver|optimizer|[123]d)$")


def close(name: str, known: Iterable[str]) -> str | None:
    """The known name closest to `name`, or None if none is close; endings that all known names share are ignored."""
    stem = _stem(name)

    def ratio(other: str) -> float:
        ends = _ENDING.search(name.lower())
        pairs = [(stem, _stem(other))] if ends else [(name.lower(), other.lower()), (stem, _stem(other))]
        return max(difflib.SequenceMatcher(None, *pair).ratio() for pair in pairs)

    ratios = {other: ratio(other) for other in known}
    best = max(ratios, key=ratios.__getitem__, default=None)
    return best if best is not None and ratios[best] >= CLOSE else None


def field(name: str, known: Collection[str]) -> str | None:
    """The field for a name from another framework, or the field with a close name."""
    same = [ours for ours in FIELDS.get(name.lower(), ()) if ours in known]
    return same[0] if same else close(name, known)


def elsewhere(kind: str, name: str, registered: Mapping[str, Collection[str]]) -> str:
    """A hint that names the same thing under another name, or in another namespace; empty if there is none."""
    stem = _stem(name)
    for other in (kind, *(other for other in NAMESPACES if other != kind)):
        names = registered[other]
        found = [theirs for theirs in names if _stem(theirs) == stem]
        if not found and NAMES.get(stem, ("", ""))[0] == other and NAMES[stem][1] in names:
            found = [NAMES[stem][1]]
        if found and other == "neurons" != kind:
            use = f"InnerProductLayer(..., neuron=neurons.{found[0]}())"
            return f"{found[0]} is a neuron, which layers take along: {use}."
        if found:
            return f"Did you mean {other}.{found[0]}?"
    return ""


def channels_last(shape: tuple[int, ...]) -> str:
    """A hint for a shape that looks like (N, height, width, channels); empty for others.

    Such a shape has 3 or 4 channels, or has 1 and square images. The hint continues a sentence that begins with the
    blob.
    """
    if len(shape) != 4:
        return ""
    _, height, width, channels = shape
    if min(height, width) <= 4 or not (channels in (3, 4) or (channels == 1 and height == width)):
        return ""
    return (
        "looks like (N, height, width, channels), with the channels last; images are (N, channels, height, width). "
        "Transpose them: images.transpose(0, 3, 1, 2)."
    )


def _stem(name: str) -> str:
    stem, before = name.lower().replace("_", ""), ""
    while stem != before:
        before, stem = stem, _ENDING.sub("", stem) or stem
    return stem
