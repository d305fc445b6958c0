"""The update of parameters: the op of SGD, and what layers and nets say about learning."""

import dataclasses

import numpy as np
import pytest
from mocha_solvers_std.sgd import SGDUpdate

import mocha_core as mocha
from mocha_core import initializers, layers, regularizers, solvers
from mocha_core.describe.parameter import Constraint
from mocha_core.testing import OpCase, OpTests
from mocha_core.testing.backends import installed, open_any
from mocha_core.testing.inputs import distinct


class Clip(Constraint):
    def project(self, xp, w):
        return xp.maximum(xp.minimum(w, 0.5), -0.5)


def case(multiplier=1.0, regu_coef=0.0, regularizer=None, constraint=None, status=0, momentum=0.9, fault=0):
    op = SGDUpdate(multiplier, regu_coef, regularizer, constraint, fault)
    arrays = [distinct((3, 4), i) for i in range(3)]
    return OpCase(op, [*arrays, np.asarray(0.1), np.asarray(momentum), np.asarray(status, np.int32)])


class TestSGDUpdate(OpTests):
    cases = {
        "plain": case(),
        "without momentum": case(momentum=0.0),
        "multiplier": case(2.0),
        "multiplier 0": case(0.0),
        "L2": case(regu_coef=0.05, regularizer=regularizers.L2Regu(1.0)),
        "L1": case(regu_coef=0.05, regularizer=regularizers.L1Regu(2.0)),
        "no regularizer": case(regu_coef=0.05, regularizer=regularizers.NoRegu()),
        "regu_coef 0": case(regularizer=regularizers.L2Regu(1.0)),
        "constraint": case(constraint=Clip()),
        "all": case(2.0, 0.05, regularizers.L2Regu(0.5), Clip()),
        "invalid minibatch": case(2.0, 0.05, regularizers.L2Regu(0.5), Clip(), status=4),
        "checked": case(2.0, 0.05, regularizers.L2Regu(0.5), Clip(), fault=3),
        "checked and invalid": case(2.0, status=4, fault=3),
    }

    def expected(self, op, inputs):
        w, g, h, learning_rate, momentum, status = inputs
        if status:
            return [w, h, status]
        kind, coefficient = type(op.regularizer).__name__, getattr(op.regularizer, "coefficient", 0.0)
        penalty = {"L2Regu": 2 * coefficient * w, "L1Regu": coefficient * np.sign(w)}.get(kind, 0.0)
        h = momentum * h + learning_rate * op.multiplier * (g + op.regu_coef * penalty)
        return [np.clip(w - h, -0.5, 0.5) if op.constraint else w - h, h, status]


X, TARGET = distinct((6, 4)), distinct((6, 2), 1)


@pytest.fixture(params=installed())
def system(request):
    with mocha.System(open_any(request.param), dtype="float64", seed=3) as opened:
        yield opened


def net(system, *between):
    data = layers.MemoryDataLayer(name="data", data=[X, TARGET], batch_size=6, tops=["x", "t"])
    loss = layers.SquareLossLayer(name="loss", bottoms=["y", "t"])
    return mocha.Net("test", system, [data, *between, loss])


def inner_product(name, bottom, top, output_dim=2, **options):
    return layers.InnerProductLayer(
        name=name, output_dim=output_dim, bottoms=[bottom], tops=[top],
        bias_init=initializers.ConstantInitializer(0.1), **options,
    )  # fmt: skip


def one_step(net, regu_coef=0.0):
    """Gradients before, and how far one update of rate 0.1 moved each parameter."""
    net.forward()
    net.backward()
    states = dict(net.states)
    learned = {key: p for key, p in states.items() if p.value in net.program().plan.gradients}
    gradients = {key: net.gradient(p.layer, p.name) for key, p in learned.items()}
    before = {key: p.numpy() for key, p in states.items()}
    solvers.SGD(mocha.SolverParameters(max_iter=1, lr_policy=0.1, momentum=0.0, regu_coef=regu_coef)).solve(net)
    return gradients, before, {key: before[key] - p.numpy() for key, p in states.items()}


@pytest.mark.parametrize("options", [{}, {"weight_lr": 0.5, "bias_lr": 3.0}, {"weight_lr": 0.0, "bias_lr": 0.0}])
def test_learning_rate_multipliers(system, options):
    gradients, _, moved = one_step(net(system, inner_product("ip", "x", "y", **options)))
    for name, default in (("weight", 1.0), ("bias", 2.0)):
        rate = 0.1 * options.get(f"{name}_lr", default)
        np.testing.assert_allclose(moved[f"ip___{name}"], rate * gradients[f"ip___{name}"], rtol=1e-12, atol=1e-15)


def test_convolution_has_the_same_multipliers(system):
    layer = layers.ConvolutionLayer(name="conv", n_filter=2, kernel=1, bottoms=["image"], tops=["y"])
    image, t = distinct((2, 1, 2, 2)), distinct((2, 2, 2, 2), 1)
    data = layers.MemoryDataLayer(name="data", data=[image, t], batch_size=2, tops=["image", "t"])
    loss = layers.SquareLossLayer(name="loss", bottoms=["y", "t"])
    gradients, _, moved = one_step(mocha.Net("test", system, [data, layer, loss]))
    np.testing.assert_allclose(moved["conv___filter"], 0.1 * gradients["conv___filter"], rtol=1e-12)
    np.testing.assert_allclose(moved["conv___bias"], 0.2 * gradients["conv___bias"], rtol=1e-12)


@pytest.mark.parametrize(
    ("regularizer", "penalty"),
    [(regularizers.L2Regu(1.5), lambda w: 3 * w), (regularizers.L1Regu(1.5), lambda w: 1.5 * np.sign(w))],
)
def test_regularizers_are_part_of_the_update_only(system, regularizer, penalty):
    gradients, before, moved = one_step(
        net(system, inner_product("ip", "x", "y", weight_regu=regularizer)), regu_coef=0.01
    )
    expected = 0.1 * (gradients["ip___weight"] + 0.01 * penalty(before["ip___weight"]))
    np.testing.assert_allclose(moved["ip___weight"], expected, rtol=1e-12)
    np.testing.assert_allclose(moved["ip___bias"], 0.2 * gradients["ip___bias"], rtol=1e-12)


def test_a_frozen_layer_is_not_updated(system):
    trained = net(system, inner_product("below", "x", "h", 3), inner_product("above", "h", "y"))
    trained.freeze("above")
    _, _, moved = one_step(trained)
    for parameter in ("weight", "bias"):
        assert not np.any(moved[f"above___{parameter}"])
        assert np.all(moved[f"below___{parameter}"] != 0)


def test_parameters_tied_by_param_key_move_once_by_the_sum(system):
    below = inner_product("below", "x", "h", 4, param_key="tied")
    above = dataclasses.replace(below, name="above", bottoms=["h"], tops=["h2"])
    tied = net(system, below, above, inner_product("last", "h2", "y"))
    gradients, before, moved = one_step(tied)
    np.testing.assert_allclose(moved["below___weight"], 0.1 * gradients["below___weight"], rtol=1e-12)
    assert set(before) == {"below___weight", "below___bias", "last___weight", "last___bias"}
    # The same net with two parameters of equal contents: gradients add up in the tied one.
    apart = net(
        system,
        inner_product("below2", "x", "h", 4),
        inner_product("above2", "h", "h2", 4),
        inner_product("last2", "h2", "y"),
    )
    contents = {"below2": "below", "above2": "below", "last2": "last"}
    for name, source in contents.items():
        for parameter in ("weight", "bias"):
            apart.parameters[name][parameter].set(before[f"{source}___{parameter}"])
    apart.forward()
    apart.backward()
    total = apart.gradient("below2", "weight") + apart.gradient("above2", "weight")
    np.testing.assert_allclose(gradients["below___weight"], total, rtol=1e-12)
