"""Assignments that nothing would honour are errors with the way out."""

import copy
import pickle
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from toys import nets
from toys.inner_product import InnerProductLayer
from toys.observe import parameters
from toys.plain import Plain
from toys.sgd import SGD
from toys.square_loss import SquareLossLayer

import mocha_core as mocha
from mocha_core.errors import ConfigurationError, FrozenError, MochaError, StateError, UnknownNameError


@pytest.fixture(scope="module")
def made():
    with mocha.System(Plain(), dtype="float64") as system:
        dense = InnerProductLayer(name="x", output_dim=3, bottoms=["data"], tops=["x"])
        loss = SquareLossLayer(name="loss", bottoms=["x", "target"])
        net = mocha.Net("net", system, [nets.data(), dense, loss], keep=["x"])
        solver = SGD(parameters(max_iter=2))
        solver.solve(net)
        weight = net.parameters["x"]["weight"]
        blob = net.blobs["x"]
        yield {"system": system, "net": net, "solver": solver, "weight": weight, "layer": dense, "blob": blob}


@pytest.mark.parametrize(
    ("owner", "name", "way_out"),
    [
        ("solver", "max_iter", "solver.parameters = dataclasses.replace"),
        ("solver", "momentum", "solver.parameters = dataclasses.replace"),
        ("net", "keep", "keep="),
        ("net", "batch_size", "mocha.Net"),
        ("system", "threads", "mocha.System"),
        ("weight", "learning_rate", "multiplier"),
        ("blob", "data", r"set\(array\)"),
    ],
)
def test_an_attribute_that_does_not_exist_cannot_be_assigned(made, owner, name, way_out):
    with pytest.raises(UnknownNameError, match=f"has no attribute '{name}'.*{way_out}"):
        setattr(made[owner], name, 1)


@pytest.mark.parametrize(
    ("owner", "name", "way_out"),
    [
        ("net", "layers", r"mocha\.Net"),
        ("net", "frozen", r"net\.freeze"),
        ("net", "epoch", r"mocha\.Net"),
        ("net", "name", r"mocha\.Net"),
        ("net", "feeds", r"mocha\.Net"),
        ("blob", "shape", r"set\(array\)"),
        ("solver", "breaks", r"add_coffee_break\(\)"),
        ("solver", "listeners", r"listeners\.append\(\)"),
        ("system", "dtype", r"mocha\.System"),
        ("system", "seed", r"mocha\.System"),
        ("weight", "value", r"set\(array\)"),
    ],
)
def test_an_attribute_that_only_reports_cannot_be_assigned(made, owner, name, way_out):
    before = getattr(made[owner], name)
    with pytest.raises(StateError, match=f"'{name}' cannot be set.*{way_out}"):
        setattr(made[owner], name, 1)
    assert getattr(made[owner], name) == before


@pytest.mark.parametrize("value", [-1, "x", float("nan"), np.zeros(3), SGD, True])
def test_what_is_assigned_is_checked(made, value):
    """At once, and not where it is used."""
    weight, solver, feed = made["weight"], made["solver"], made["net"].feeds.first
    for owner, name in ((weight, "multiplier"), (solver.state, "iteration"), (solver, "state"), (solver, "parameters")):
        before = getattr(owner, name)
        with pytest.raises(ConfigurationError, match=f"expected .*{name if name != 'parameters' else ''}.*received"):
            setattr(owner, name, value)
        assert getattr(owner, name) is before
    for name, example in (("regularizer", "L2Regu"), ("constraint", "None")):
        with pytest.raises(ConfigurationError, match=f"'x___weight': expected {name} to be a .*{example}"):
            setattr(weight, name, value)
    with pytest.raises(ConfigurationError, match="cursor to be an integer >= 0"):
        feed.seek(value)


def test_what_may_be_assigned_is(made):
    weight, solver = made["weight"], made["solver"]
    weight.multiplier, before = 3.0, weight.multiplier
    assert weight.multiplier == 3.0
    weight.multiplier = before
    solver.parameters = parameters(max_iter=5)
    assert solver.parameters.max_iter == 5


def test_a_solver_of_ones_own_keeps_its_attributes():
    class Counting(SGD):
        def __init__(self, given):
            super().__init__(given)
            self.seen = 0

    solver = Counting(parameters(max_iter=1))
    solver.seen += 1
    solver._more = 2
    assert (solver.seen, solver._more) == (1, 2)


CHANGES = {
    "setitem": lambda named, name: named.__setitem__(name, np.zeros(3)),
    "delitem": lambda named, name: named.__delitem__(name),
    "setattr": lambda named, name: setattr(named, name, np.zeros(3)),
    "delattr": lambda named, name: delattr(named, name),
    "update": lambda named, name: named.update({name: np.zeros(3)}),
    "or": lambda named, name: named.__ior__({name: np.zeros(3)}),
    "pop": lambda named, name: named.pop(name),
    "clear": lambda named, name: named.clear(),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("listed", ["parameters", "group", "states", "blobs"])
def test_what_a_net_lists_cannot_be_replaced(made, listed, change):
    net = made["net"]
    named = net.parameters["x"] if listed == "group" else getattr(net, listed)
    before = made["weight"].numpy()
    name, item = next(iter(named.items()))
    with pytest.raises(StateError, match=r"set\(array\)"):
        CHANGES[change](named, name)
    assert named[name] is item
    np.testing.assert_array_equal(made["weight"].numpy(), before)


@pytest.mark.parametrize(("owner", "name"), [("layer", "output_dim"), ("layer", "bottom"), ("told", "max_iter")])
def test_descriptions_never_change(made, owner, name):
    thing = made["solver"].parameters if owner == "told" else made[owner]
    for change in (lambda: setattr(thing, name, 4), lambda: delattr(thing, name)):
        with pytest.raises(FrozenError, match=f"{type(thing).__name__} never changes.*dataclasses.replace") as caught:
            change()
        assert isinstance(caught.value, MochaError)
        assert isinstance(caught.value, FrozenInstanceError)


def test_the_layers_of_a_net_are_a_tuple(made):
    assert isinstance(made["net"].layers, tuple)


def test_an_output_of_another_type_is_an_unknown_blob(made):
    for output in (["x"], {"x"}, None, made["layer"]):
        with pytest.raises(UnknownNameError, match="has no blob"):
            made["net"].predict(np.zeros((1, 2, 8, 8)), output)


@pytest.mark.parametrize("how", [copy.copy, copy.deepcopy, lambda state: pickle.loads(pickle.dumps(state))])
def test_the_state_of_a_solver_is_copied(made, how):
    state = made["solver"].state
    copied = how(state)
    assert (copied.iteration, copied.objective, dict(copied.cells)) == (2, state.objective, dict(state.cells))
    with pytest.raises(StateError):
        copied.learning_rate = 1
