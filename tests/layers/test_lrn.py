import numpy as np
import pytest
from mocha_layers_std import LRNLayer, LRNMode
from mocha_layers_std.lrn import LRNAcrossChannel, LRNWithinChannel

from mocha_core.errors import ConfigurationError, ShapeError

FORMULAS = [(5, 1.0, 1.0, 0.75), (3, 5e-5, 1.0, 0.75), (3, 0.7, 2.0, 1.5), (4, 1.0, 1.0, 0.75), (1, 1.0, 0.5, 2.0)]


def neighbours(kernel, size, centre):
    first = centre - (kernel - 1) // 2
    return range(max(first, 0), min(first + kernel, size))


def loop(x, kernel, scale, shift, power, across):
    """The formula, element by element; n is the full window also at the borders."""
    y, n = np.empty_like(x), kernel if across else kernel**2
    for sample, channel, row, column in np.ndindex(x.shape):
        if across:
            part = x[sample, neighbours(kernel, x.shape[1], channel), row, column]
        else:
            rows, columns = neighbours(kernel, x.shape[2], row), neighbours(kernel, x.shape[3], column)
            part = x[sample, channel][np.ix_(rows, columns)]
        y[sample, channel, row, column] = x[sample, channel, row, column] * (shift + scale / n * np.sum(part**2)) ** (
            -power
        )
    return y


@pytest.mark.parametrize("formula", FORMULAS)
@pytest.mark.parametrize("op", [LRNAcrossChannel, LRNWithinChannel])
def test_loops(op, formula):
    x = 3 * np.random.default_rng(1).normal(size=(2, 7, 4, 5))
    expected = loop(x, *formula, across=op is LRNAcrossChannel)
    np.testing.assert_allclose(op(*formula).forward(np, x), expected, rtol=1e-12)


def test_layer_and_its_defaults(tops_of):
    x = np.random.default_rng(2).normal(size=(2, 6, 3, 3))
    tops = tops_of(
        {"x": x},
        LRNLayer(bottoms=["x"], tops=["default"]),
        LRNLayer(kernel=3, scale=5e-5, shift=2, power=0.5, mode=LRNMode.WithinChannel, bottoms=["x"], tops=["within"]),
    )
    np.testing.assert_allclose(tops["default"], loop(x, 5, 1, 1, 0.75, across=True), rtol=1e-12)
    np.testing.assert_allclose(tops["within"], loop(x, 3, 5e-5, 2, 0.5, across=False), rtol=1e-12)


@pytest.mark.parametrize("kernel", [6, 7, 8, 60, 61, 2**28])
def test_windows_larger_than_what_they_slide_over(tops_of, kernel):
    """They hold all elements, and take no longer than those that just do."""
    x = np.random.default_rng(2).normal(size=(2, 4, 3, 4))
    bottoms = {"kernel": kernel, "scale": 1.5, "bottoms": ["x"]}
    tops = tops_of(
        {"x": x}, LRNLayer(**bottoms, tops=["across"]), LRNLayer(**bottoms, mode=LRNMode.WithinChannel, tops=["within"])
    )
    for mode in LRNMode:
        across = mode is LRNMode.AcrossChannel
        expected = loop(x, kernel, 1.5, 1, 0.75, across)
        np.testing.assert_allclose(tops["across" if across else "within"], expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kernel": 0}, "expected kernel to be an integer >= 1, received 0"),
        ({"power": "high"}, "expected power to be a finite number, received 'high'"),
        ({"mode": "x"}, "expected mode to be one of LRNMode.AcrossChannel, LRNMode.WithinChannel, received 'x'"),
        ({"tops": ["y", "z"]}, r"expected 1 tops \(output\), received \['y', 'z'\]"),
    ],
)
def test_bad_fields(fields, message):
    with pytest.raises(ConfigurationError, match=message):
        LRNLayer(**{"bottoms": ["x"], "tops": ["y"]} | fields)


def test_needs_images(net_of):
    with pytest.raises(
        ShapeError, match=r"LRNLayer\(y\).*4 axes \(N, channels, height, width\), received float64\[2, 3\]"
    ):
        net_of({"x": np.zeros((2, 3))}, LRNLayer(bottoms=["x"], tops=["y"]))
