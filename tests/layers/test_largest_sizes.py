"""Sizes that kernels in C could not count with are refused where a layer or a solver is made, or its op is inferred."""

import pytest
from mocha_layers_std.convolution import Convolution
from mocha_layers_std.pooling import MaxPooling, MeanPooling
from mocha_layers_std.windows import pooled_size

import mocha_core as mocha
from mocha_core import checks, layers
from mocha_core.errors import ConfigurationError, ShapeError
from mocha_core.graph.value import Spec

HUGE = [2**31, 2**62, 2**63, 10**30]
PLACE = {"bottoms": ["x"], "tops": ["y"]}
WINDOWS = [
    (kind, field)
    for kind in (layers.PoolingLayer, layers.ConvolutionLayer, layers.ChannelPoolingLayer)
    for field in ("kernel", "stride", "pad")
]


def value(kind, field, size):
    """The field's value, with that size as its first and as its second number."""
    alone = kind is layers.ChannelPoolingLayer and field != "pad"
    return [size] if alone else [(size, 1), (1, size)]


def made(kind, **given):
    """A layer with that field, and with small ones where it needs others."""
    needed = {"kernel": 1} | ({"n_filter": 1} if kind is layers.ConvolutionLayer else {})
    return kind(name="a", **PLACE, **needed | given)


@pytest.mark.parametrize(("kind", "field"), WINDOWS, ids=str)
@pytest.mark.parametrize("size", [checks.MOST_WINDOW + 1, *HUGE])
def test_windows(kind, field, size):
    for given in value(kind, field, size):
        with pytest.raises(
            ConfigurationError, match=rf"{kind.__name__}\(a\): expected {field} to be an integer <= 268435456"
        ):
            made(kind, **{field: given})


@pytest.mark.parametrize(("kind", "field"), WINDOWS, ids=str)
def test_the_largest_window_is_taken(kind, field):
    for given in value(kind, field, checks.MOST_WINDOW):
        assert getattr(made(kind, **{field: given}), field) == given


@pytest.mark.parametrize("size", HUGE)
@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda n: layers.ConvolutionLayer(n_filter=n, kernel=1, **PLACE), "n_filter"),
        (lambda n: layers.ConvolutionLayer(n_group=n, n_filter=n, kernel=1, **PLACE), "n_filter"),
        (lambda n: layers.InnerProductLayer(output_dim=n, **PLACE), "output_dim"),
        (lambda n: layers.LRNLayer(kernel=n, **PLACE), "kernel"),
        (lambda n: layers.MemoryDataLayer(batch_size=n, data=[[1.0]], tops=["x"]), "batch_size"),
        (lambda n: mocha.SolverParameters(max_iter=1, accumulate=n), "accumulate"),
    ],
)
def test_counts(make, field, size):
    with pytest.raises(ConfigurationError, match=rf"expected {field} to be an integer <= \d+, received {size}"):
        make(size)


def test_products_of_sizes():
    most = checks.MOST
    assert pooled_size(most - 2, 3, 2**28, 1, 1) == 8
    with pytest.raises(ShapeError, match=f"at most {most} elements along an axis, padding included"):
        pooled_size(most - 2, 3, 1, 2, 1)
    image = Spec((1, 1, 2**16, 2**15), "float32")
    assert MeanPooling((2, 2), (2, 2), (0, 0), *image.shape[2:]).infer(image)[0].shape == (1, 1, 2**15, 2**14)
    with pytest.raises(ShapeError, match=f"images of at most {most} pixels"):
        MaxPooling((2, 2), (2, 2), (0, 0), *image.shape[2:]).infer(image)
    wide, w, b = Spec((1, 1, 1, most - 1), "float32"), Spec((1, 1, 1, 1), "float32"), Spec((1,), "float32")
    with pytest.raises(ShapeError, match=f"at most {most} elements along an axis, padding included"):
        Convolution((1, 1), (1, 1), (1, 0), 1).infer(wide, w, b)
