"""The plain backend against numeric gradients, and a solver against its formula in NumPy."""

import numpy as np
import pytest
from toys import nets
from toys.inner_product import InnerProductLayer
from toys.observe import parameters
from toys.plain import Plain
from toys.sgd import SGD
from toys.square_loss import SquareLossLayer

import mocha_core as mocha
from mocha_core.train.solver import Policy


@pytest.fixture(scope="module")
def net():
    """One minibatch is the whole data set, so that every forward sees the same rows."""
    with mocha.System(Plain(), dtype="float64", seed=3) as system:
        yield mocha.Net("net", system, [nets.data(n=nets.BATCH), *nets.body(), *nets.losses()])


@pytest.mark.parametrize("key", ["conv1.filter", "conv1.bias", "conv2.filter", "ip1.weight", "tied1.weight",
                                 "tied2.bias", "scores.weight", "side.bias"])  # fmt: skip
def test_gradients_are_those_of_central_differences(net, key):
    layer, name = key.split(".")
    parameter = net.parameters[layer][name]
    net.feeds.first.seek(0)
    net.forward()
    net.backward()
    analytic = net.gradient(layer, name)
    start, numeric = parameter.numpy(), np.zeros_like(analytic)
    for index in np.ndindex(start.shape):
        values = []
        for step in (1e-6, -1e-6):
            moved = start.copy()
            moved[index] += step
            parameter.set(moved)
            net.feeds.first.seek(0)  # for the same dropout
            values.append(net.forward())
        numeric[index] = (values[0] - values[1]) / 2e-6
    parameter.set(start)
    assert np.linalg.norm(numeric) > 1e-3
    assert np.linalg.norm(analytic - numeric) / np.linalg.norm(numeric) < 1e-6


def test_training_follows_the_formula_of_sgd():
    """h = m h + lr mult (g + 2 regu W), W -= h, with multiplier 2 and no regularizer for the bias."""

    class Falling(Policy):
        def __call__(self, iteration):
            return 0.1 / (1 + iteration)

    images, _, targets = nets.rows()
    x, t = images.reshape(len(images), -1), targets
    dense = InnerProductLayer(name="x", output_dim=3, bottoms=["data"], tops=["x"])
    with mocha.System(Plain(), dtype="float64", seed=3) as system:
        net = mocha.Net("net", system, [nets.data(), dense, SquareLossLayer(bottoms=["x", "target"])])
        w, b = (net.parameters["x"][name].numpy() for name in ("weight", "bias"))
        solver = SGD(parameters(max_iter=8, lr_policy=Falling(), regu_coef=0.03))
        solver.solve(net)
        seen = [net.parameters["x"][name].numpy() for name in ("weight", "bias")]
    hw, hb = np.zeros_like(w), np.zeros_like(b)
    for i in range(8):
        rows = np.arange(6 * i, 6 * i + 6) % len(x)
        d = x[rows] @ w.T + b - t[rows]
        objective = (d**2).sum() / 12
        hw = 0.9 * hw + 0.1 / (1 + i) * (d.T @ x[rows] / 6 + 2 * 0.03 * w)
        hb = 0.9 * hb + 0.1 / (1 + i) * 2 * d.sum(0) / 6
        w, b = w - hw, b - hb
    np.testing.assert_allclose(seen[0], w, rtol=1e-10)
    np.testing.assert_allclose(seen[1], b, rtol=1e-10)
    assert solver.state.objective == pytest.approx(objective, rel=1e-12)
    assert (solver.state.iteration, solver.state.learning_rate, solver.state.cells["momentum"]) == (8, 0.1 / 8, 0.9)
