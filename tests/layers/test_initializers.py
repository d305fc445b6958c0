import numpy as np
import pytest
from mocha_layers_std import (
    ConstantInitializer,
    ConvolutionLayer,
    GaussianInitializer,
    InnerProductLayer,
    NullInitializer,
    XavierInitializer,
)

from mocha_core.errors import ConfigurationError


@pytest.mark.parametrize(
    ("shape", "bound"),
    [
        # LeNet: conv1, conv2, ip1, ip2.
        ((20, 1, 5, 5), 0.3464),
        ((50, 20, 5, 5), 0.0775),
        ((500, 800), 0.0612),
        ((10, 500), 0.0775),
    ],
)
def test_xavier(shape, bound):
    random = np.random.default_rng(1)
    draws = np.concatenate(
        [XavierInitializer().initialize(shape, random).ravel() for _ in range(1 + 100_000 // np.prod(shape))]
    )
    exact = np.sqrt(3 / np.prod(shape[1:]))
    assert abs(exact - bound) < 5e-5
    assert 0.999 * exact < np.abs(draws).max() <= exact
    assert abs(draws.mean()) < 0.02 * exact
    assert abs(draws.std() - exact / np.sqrt(3)) < 0.01 * exact


def test_gaussian():
    draws = GaussianInitializer(mean=2, std=0.5).initialize((400, 500), np.random.default_rng(2))
    assert draws.shape == (400, 500)
    assert abs(draws.mean() - 2) < 0.01
    assert abs(draws.std() - 0.5) < 0.01
    # Within one standard deviation: 68.27 % of a normal distribution, 57.7 % of a uniform one.
    assert abs(np.mean(np.abs(draws - 2) < 0.5) - 0.6827) < 0.005
    standard = GaussianInitializer().initialize((400, 500), np.random.default_rng(2))
    np.testing.assert_allclose(draws, 2 + 0.5 * standard, rtol=1e-12)


def test_constant_and_null():
    random = np.random.default_rng(3)
    np.testing.assert_array_equal(ConstantInitializer(1.5).initialize((2, 3), random), np.full((2, 3), 1.5))
    assert NullInitializer().initialize((2, 3), random) is None


def test_in_a_net(net_of):
    net = net_of(
        {"x": np.zeros((1, 2, 3, 3))},
        ConvolutionLayer(name="c", n_filter=2, kernel=1, filter_init=NullInitializer(), bottoms=["x"], tops=["y"]),
        InnerProductLayer(name="ip", output_dim=2, weight_init=ConstantInitializer(3), bottoms=["y"], tops=["z"]),
    )
    np.testing.assert_array_equal(net.parameters["c"]["filter"].numpy(), np.zeros((2, 2, 1, 1)))
    np.testing.assert_array_equal(net.parameters["ip"]["weight"].numpy(), np.full((2, 18), 3))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ConstantInitializer("a"), "ConstantInitializer: expected value to be a finite number, received 'a'"),
        (lambda: GaussianInitializer(std=-1), r"expected std to be a finite number in \[0, inf\], received -1"),
        (lambda: GaussianInitializer(mean=np.inf), "expected mean to be a finite number, received inf"),
    ],
)
def test_bad_fields(make, message):
    with pytest.raises(ConfigurationError, match=message):
        make()
