"""Kernels that want parameters in a layout of their own: packed when a parameter changed, and not otherwise."""

import numpy as np
import pytest
from toys import nets
from toys.backends import BACKENDS
from toys.blocked import Blocked
from toys.inner_product import InnerProductLayer
from toys.lanes import Turned
from toys.observe import parameters
from toys.sgd import SGD
from toys.square_loss import SquareLossLayer

import mocha_core as mocha
from mocha_core import hookimpl
from mocha_core.compile.kernel import Reference
from mocha_core.compile.layout import Layouts
from mocha_core.graph.plan import Section

IMAGES = nets.rows(7)[0]


def layers(layer):
    return [nets.data(), layer, SquareLossLayer(bottoms=["x", "target"])]


@pytest.fixture
def dense():
    return InnerProductLayer(name="x", output_dim=3, bottoms=["data"], tops=["x"])


def plain_prediction(weight, bias, images=IMAGES):
    return images.reshape(len(images), -1) @ weight.T + bias


def prediction_is_current(net):
    p = net.parameters["x"]
    expected = plain_prediction(p["weight"].numpy(), p["bias"].numpy())
    np.testing.assert_allclose(net.predict(IMAGES, "x"), expected, rtol=1e-12)


def test_inference_packs_once(dense):
    backend = Blocked()
    with mocha.System(backend, dtype="float64") as system:
        net = mocha.Net("net", system, layers(dense))
        for _ in range(3):
            net.predict(IMAGES, "x", batch_size=4)
        assert backend.turned.packed == 1
        assert len(net.program("x").runs(Section.PACK)) == 1


def test_setting_a_parameter_packs_again(dense):
    backend = Blocked()
    with mocha.System(backend, dtype="float64") as system:
        net = mocha.Net("net", system, layers(dense))
        prediction_is_current(net)
        packed = backend.turned.packed
        net.parameters["x"]["weight"].set(np.ones((3, 128)))
        prediction_is_current(net)
        assert backend.turned.packed > packed


def test_training_in_between_packs_again(dense):
    backend = Blocked()
    with mocha.System(backend, dtype="float64") as system:
        net = mocha.Net("train", system, layers(dense))
        test = mocha.Net("test", system, layers(dense))
        solver = SGD(parameters(max_iter=1))
        for n in (1, 3, 5):
            solver.parameters = parameters(max_iter=n)
            solver.solve(net)
            prediction_is_current(test)


def test_training_packs_in_every_iteration(dense):
    backend = Blocked()
    with mocha.System(backend, dtype="float64") as system:
        net = mocha.Net("train", system, layers(dense))
        SGD(parameters(max_iter=5)).solve(net)
        assert backend.turned.packed == 5
        assert not net.runs.last_program().runs(Section.PACK)


def test_training_a_frozen_layer_packs_it_once(dense):
    backend = Blocked()
    top = InnerProductLayer(name="y", output_dim=3, bottoms=["x"], tops=["y"])
    with mocha.System(backend, dtype="float64") as system:
        loss = SquareLossLayer(bottoms=["y", "target"])
        net = mocha.Net("train", system, [nets.data(), dense, top, loss])
        net.freeze("x")
        SGD(parameters(max_iter=5)).solve(net)
        assert backend.turned.packed == 5 + 1


def test_states_that_training_moves_are_packed_again(register):
    """Running statistics change in the forward section, without an update: packed copies must notice."""

    class TurnedStates(Blocked):
        name = "turned states"
        states = Turned()

    def build(backend, call):
        kernel = Reference(backend, call)
        kernel.layouts = Layouts(ins=(Layouts().of_in(0), backend.states))
        return kernel

    class Plugin:
        @hookimpl
        def mocha_register_kernels(self, kernels):
            kernels.add("toy.standardize-by-running", "turned states", build)
            kernels.add("toy.standardize", "turned states", build)

    register(Plugin(), "turned-states")
    seen = {}
    for make in (BACKENDS["plain"], TurnedStates):
        with mocha.System(make(), dtype="float64", seed=3) as system:
            net = mocha.Net("net", system, [nets.data(), *nets.body(), *nets.losses()])
            predictions = [net.predict(IMAGES, "scores")]
            for _ in range(2):
                net.forward()
                predictions.append(net.predict(IMAGES, "scores"))
            SGD(parameters(max_iter=3)).solve(net)
            predictions.append(net.states["norm___mean"].numpy())
            seen[make] = predictions
    for one, two in zip(*seen.values(), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-10)
    first, second, third, _ = seen[TurnedStates]
    assert np.abs(first - second).max() > 1e-4 < np.abs(second - third).max()
