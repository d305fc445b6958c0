import numpy as np
import pytest
from mocha_layers_std import PowerLayer
from mocha_layers_std.power import Power

from mocha_core.errors import ConfigurationError


@pytest.mark.parametrize("power", [-1, 0, 1, 2, 3])
@pytest.mark.parametrize("scale", [-1, 0, 1, 2])
@pytest.mark.parametrize("shift", [0.5, 3])
def test_layer(tops_of, power, scale, shift):
    x = np.random.default_rng(1).uniform(-0.4, 0.4, (2, 3, 2))
    layer = PowerLayer(power=power, scale=scale, shift=shift, bottoms=["x"], tops=["y"])
    np.testing.assert_allclose(tops_of({"x": x}, layer)["y"], (scale * x + shift) ** power, rtol=1e-12)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("power", "scale", "shift", "gradient"),
    [(1, 2, 0, 2), (2, 3, 0, 0), (3, 1, 0, 0), (0, 1, 0, 0), (-1, 0, 0, 0), (1.5, 1, 0, 0), (2, 1, 1, 2)],
)
def test_gradient_at_zero(power, scale, shift, gradient):
    (dx,) = Power(power, scale, shift).backward(np, [np.ones(1)], [np.zeros(1)], [None], [True])
    assert (0 if dx is None else dx[0]) == gradient


def test_default_is_identity_for_several_bottoms(tops_of):
    data = {"a": np.array([[-1.5]]), "b": np.array([2.0])}
    tops = tops_of(data, PowerLayer(bottoms=["a", "b"], tops=["x", "y"]))
    np.testing.assert_array_equal(tops["x"], data["a"])
    np.testing.assert_array_equal(tops["y"], data["b"])


def test_bad_field():
    with pytest.raises(
        ConfigurationError, match=r"PowerLayer\(y\): expected shift to be a finite number, received nan"
    ):
        PowerLayer(shift=float("nan"), bottoms=["x"], tops=["y"])
