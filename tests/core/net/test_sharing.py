"""Tied, frozen and accumulated parameters, in-place layers, views, fan-out and losses, on every backend."""

import gc
import weakref

import numpy as np
import pytest
from toys import nets
from toys.backends import BACKENDS
from toys.dropout import DropoutLayer
from toys.inner_product import Dot, InnerProductLayer
from toys.normal import L2, Constant, Normal
from toys.observe import assert_equal, contents, train
from toys.product import SquareLayer
from toys.relu import ReluLayer
from toys.sgd import SGD
from toys.softmax_loss import SoftmaxLossLayer
from toys.square_loss import SquareLossLayer

import mocha_core as mocha
from mocha_core.describe.parameter import Initializer, Regularizer
from mocha_core.errors import ConfigurationError


@pytest.fixture(params=BACKENDS)
def backend(request):
    return BACKENDS[request.param]()


def dense(bottom, top, dim=3, **options):
    return InnerProductLayer(name=top, output_dim=dim, bottoms=[bottom], tops=[top], **options)


def gradients(backend, layers, seed=3):
    """Parameter gradients of one minibatch, and the objective."""
    with mocha.System(backend, dtype="float64", seed=seed) as system:
        net = mocha.Net("net", system, layers)
        objective = net.forward()
        net.backward()
        return objective, {layer: net.gradient(layer, "weight") for layer in net.parameters}


def test_tied_parameters_get_the_sum_of_gradients(backend):
    loss = SquareLossLayer(bottoms=["b", "target"])
    tied = [dense("data", "h", 3), dense("h", "a", param_key="w"), dense("a", "b", param_key="w")]
    _, seen = gradients(backend, [nets.data(), *tied, loss])
    with mocha.System(BACKENDS["plain"](), dtype="float64", seed=3) as system:
        apart = [tied[0], dense("h", "a"), dense("a", "b")]
        net = mocha.Net("net", system, [nets.data(), *apart, loss])
        net.parameters["b"]["weight"].set(net.parameters["a"]["weight"].numpy())
        net.forward()
        net.backward()
        expected = net.gradient("a", "weight") + net.gradient("b", "weight")
    np.testing.assert_allclose(seen["a"], expected, rtol=1e-12)
    np.testing.assert_array_equal(seen["a"], seen["b"])


class Biased(InnerProductLayer):
    """Has one parameter more."""

    def build(self, b, x):
        b.param("offset", (3,), Constant(0.0))
        return super().build(b, x)


def test_layers_of_two_kinds_do_not_share_some_parameters(backend):
    """What only one of them has would not be shared, without a word."""
    odd = Biased(name="b", output_dim=3, bottoms=["data"], tops=["b"], param_key="w")
    with mocha.System(backend, dtype="float64") as system:
        layers = [nets.data(), dense("data", "a", param_key="w"), odd]
        expected = r"Biased\(b\).* of layer 'a' by param_key 'w', which are weight, bias, but needs offset\."
        with pytest.raises(ConfigurationError, match=expected):
            mocha.Net("net", system, layers)
        mocha.Net("net", system, layers[:2])


def test_tied_parameters_are_updated_once(backend):
    """Without gradient, momentum and regularizer act on the parameter exactly once per iteration."""
    layers = [nets.data(), dense("data", "a", param_key="w"), dense("data", "b", param_key="w")]
    layers += [SquareLossLayer(name=f"l{t}", weight=0.0, bottoms=[t, "target"]) for t in ("a", "b")]
    options = {"lr_policy": 0.1, "momentum": 0.0, "regu_coef": 0.5}
    first = train(backend, layers, max_iter=1, **options)["a___weight"]
    with mocha.System(BACKENDS["plain"](), dtype="float64", seed=3) as system:
        start = mocha.Net("net", system, layers).parameters["a"]["weight"].numpy()
    np.testing.assert_allclose(first, start * (1 - 0.1 * 0.5 * 2), rtol=1e-12)


def test_a_frozen_layer_keeps_its_parameters_and_lets_gradients_through(backend):
    layers = [nets.data(), *nets.body(), *nets.losses()]
    with mocha.System(backend, dtype="float64", seed=3) as system:
        net = mocha.Net("net", system, layers)
        before = contents(net)
        net.freeze("conv2", "tied1")
        solver = SGD(mocha.SolverParameters(max_iter=3, lr_policy=0.05))
        solver.solve(net)
        after = contents(net)
        net.unfreeze("conv2")
        solver.parameters = mocha.SolverParameters(max_iter=4, lr_policy=0.05)
        solver.solve(net)
        thawed = contents(net)
    for key in ("conv2___filter", "conv2___bias", "tied1___weight"):
        np.testing.assert_array_equal(before[key], after[key])
    assert np.abs(before["conv1___filter"] - after["conv1___filter"]).max() > 0
    assert np.abs(thawed["conv2___filter"] - after["conv2___filter"]).max() > 0
    np.testing.assert_array_equal(thawed["tied1___weight"], after["tied1___weight"])


def test_two_accumulated_minibatches_equal_one_of_double_size(backend):
    """With dropout: its rows are counted over the accumulated minibatches."""
    body = nets.body(statistics=False, dropout=True)
    small = [nets.data(batch=6, n=24), *body, *nets.losses()]
    large = [nets.data(batch=12, n=24), *body, *nets.losses()]
    seen = train(backend, small, max_iter=5, accumulate=2)
    assert_equal(seen, train(BACKENDS["plain"](), large, max_iter=5))


def test_in_place_layers_follow_each_other(backend):
    """Equal top and bottom names: later readers see the last version, whatever order layers are listed in."""
    chain = [
        dense("data", "x"),
        ReluLayer(name="first", bottoms=["x"], tops=["x"]),
        SquareLayer(name="second", bottoms=["x"], tops=["x"]),
        DropoutLayer(name="third", bottoms=["x"], tops=["x"]),
    ]
    renamed = [
        dense("data", "x"),
        ReluLayer(name="first", bottoms=["x"], tops=["x1"]),
        SquareLayer(name="second", bottoms=["x1"], tops=["x2"]),
        DropoutLayer(name="third", bottoms=["x2"], tops=["x3"]),
    ]
    seen = gradients(backend, [SquareLossLayer(bottoms=["x", "target"]), *chain, nets.data()])
    expected = gradients(BACKENDS["plain"](), [nets.data(), *renamed, SquareLossLayer(bottoms=["x3", "target"])])
    assert seen[0] == pytest.approx(expected[0], rel=1e-12)
    np.testing.assert_allclose(seen[1]["x"], expected[1]["x"], rtol=1e-12)


def test_one_blob_in_both_bottoms_and_in_several_layers(backend):
    """x * x, and x read by four layers: all gradients add up, without a split layer."""
    layers = [
        nets.data(),
        dense("data", "x"),
        SquareLayer(name="square", bottoms=["x"], tops=["square"]),
        dense("x", "in lanes"),
        dense("x", "viewed", flatten=True),
        *(SquareLossLayer(name=f"l-{t}", bottoms=[t, "target"]) for t in ("x", "square", "in lanes", "viewed")),
    ]
    _, seen = gradients(backend, layers)
    images, _, target = nets.rows()
    x0, t = images[:6].reshape(6, -1), target[:6]
    with mocha.System(BACKENDS["plain"](), dtype="float64", seed=3) as system:
        w = {name: group["weight"].numpy() for name, group in mocha.Net("n", system, layers).parameters.items()}
    x = x0 @ w["x"].T + 0.3
    d = (x - t) + (x * x - t) * 2 * x
    for name in ("in lanes", "viewed"):
        d += (x @ w[name].T + 0.3 - t) @ w[name]
    np.testing.assert_allclose(seen["x"], (d / 6).T @ x0, rtol=1e-10)


def test_the_objective_is_the_weighted_sum_of_the_losses(backend):
    layers = [
        nets.data(),
        dense("data", "x"),
        SoftmaxLossLayer(name="one", weight=2.0, bottoms=["x", "label"], tops=["one"]),
        SquareLossLayer(name="two", weight=-0.25, bottoms=["x", "target"], tops=["two"]),
        SquareLossLayer(name="three", weight=0.0, bottoms=["x", "target"], tops=["three"]),
    ]
    with mocha.System(backend, dtype="float64", seed=3) as system:
        net = mocha.Net("net", system, layers)
        objective = net.forward()
        one, two = (float(net.blobs[name].numpy()) for name in ("one", "two"))
        net.backward()
        gradient = net.gradient("x", "weight")
    assert objective == pytest.approx(2 * one - two / 4, rel=1e-14)
    parts = [gradients(BACKENDS["plain"](), [*layers[:2], layer])[1]["x"] for layer in layers[2:4]]
    np.testing.assert_allclose(gradient, parts[0] + parts[1], rtol=1e-9, atol=1e-14)


class Learned(InnerProductLayer):
    """An inner product whose weight is initialized and learned as its fields say."""

    regularizer: Regularizer | None = None
    initializer: Initializer = Normal()
    multiplier: float = 1.0

    def build(self, b, x):
        w = b.param("weight", (3, 3), self.initializer, regularizer=self.regularizer, multiplier=self.multiplier)
        return b.call(Dot(), x, w, b.param("bias", (3,), Constant(0.0)))


class Table(Initializer):
    """An initializer without __eq__ whose fields are arrays."""

    def __init__(self, scale):
        self.array = np.full((3, 3), scale)

    def initialize(self, shape, random):
        return self.array


def tie(**other):
    """Two layers of one param_key, the second with other fields."""
    with mocha.System(BACKENDS["plain"]()) as system:
        a = Learned(name="a", output_dim=3, bottoms=["target"], tops=["a"], param_key="w", **other.pop("first", {}))
        b = Learned(name="b", output_dim=3, bottoms=["a"], tops=["b"], param_key="w", **other)
        net = mocha.Net("net", system, [nets.data(), a, b])
        net.forward()
        net.forward_epoch()
        assert len(net.states) == 2


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("regularizer", L2()),
        ("initializer", Normal(0.5)),
        ("initializer", Constant(0.3)),
        ("initializer", Table(1.0)),
        ("multiplier", 2.0),
    ],
)
def test_layers_that_share_a_parameter_agree_about_it(field, value):
    message = rf"Learned\(b\) in net 'net'.*shares 'a___weight', which has the {field} .*Give all layers of one param_"
    with pytest.raises(ConfigurationError, match=message):
        tie(**{field: value})
    tie(first={field: value}, **{field: value})


def test_equal_is_enough_unless_arrays_are_compared():
    tie(first={"regularizer": L2()}, regularizer=L2())
    tie(first={"initializer": Normal(0.5)}, initializer=Normal(0.5))
    with pytest.raises(ConfigurationError, match="the same initializer"):
        tie(first={"initializer": Table(1.0)}, initializer=Table(1.0))


def test_a_state_is_no_parameter():
    class Remembering(InnerProductLayer):
        def build(self, b, x):
            b.state("weight", (3, 3), Normal())
            return (x,)

    with mocha.System(BACKENDS["plain"]()) as system:
        keeps = Remembering(name="s", output_dim=3, bottoms=["target"], tops=["s"], param_key="w")
        learns = Learned(name="a", output_dim=3, bottoms=["s"], tops=["a"], param_key="w")
        with pytest.raises(ConfigurationError, match="shares 's___weight'"):
            mocha.Net("net", system, [nets.data(), keeps, learns])


def test_parameters_live_as_long_as_somebody_holds_their_layer():
    with mocha.System(BACKENDS["plain"]()) as system:
        layers = [nets.data(), dense("data", "h"), dense("h", "x", param_key="kept")]
        net = mocha.Net("net", system, layers)
        net.parameters["h"]["weight"].set(np.full((3, 128), 7.0))
        del net
        gc.collect()
        net = mocha.Net("again", system, layers)
        assert net.parameters["h"]["weight"].numpy().min() == 7, "the layer is held, and so what it learned"
        watched = {layer: weakref.ref(group["weight"]) for layer, group in net.parameters.items()}
        del net, layers
        gc.collect()
        assert {layer: seen() is None for layer, seen in watched.items()} == {"h": True, "x": False}
        again = mocha.Net("third", system, [nets.data(), dense("data", "h"), dense("h", "y", param_key="kept")])
        assert again.parameters["y"]["weight"] is watched["x"]()
