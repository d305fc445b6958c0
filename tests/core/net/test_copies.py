"""Copies and pickles: arrays of what holds numbers, and an error with the way out for all that is tied to a device."""

import copy
import pickle

import numpy as np
import pytest
from toys import nets
from toys.backends import BACKENDS
from toys.inner_product import InnerProductLayer
from toys.observe import parameters
from toys.plain import Plain
from toys.sgd import SGD
from toys.square_loss import SquareLossLayer

import mocha_core as mocha
from mocha_core.errors import ShapeError, StateError, UnknownNameError
from mocha_core.train.coffee_break import CoffeeBreak

COPIES = {"copy": copy.copy, "deepcopy": copy.deepcopy, "pickle": lambda thing: pickle.loads(pickle.dumps(thing))}


@pytest.fixture
def net():
    with mocha.System(Plain(), dtype="float64", seed=3) as system:
        net = mocha.Net("net", system, [nets.data(), *nets.body(), *nets.losses()])
        net.forward()
        yield net


def assert_arrays(found, net):
    assert set(found) == set(net.parameters)
    for layer, group in net.parameters.items():
        assert set(found[layer]) == set(group)
        for name, parameter in group.items():
            assert type(found[layer][name]) is np.ndarray
            np.testing.assert_array_equal(found[layer][name], parameter.numpy())


@pytest.mark.parametrize("how", sorted(COPIES))
def test_parameters_are_copied_as_dicts_of_arrays(net, how):
    found = COPIES[how](net.parameters)
    assert_arrays(found, net)
    assert type(found) is type(found["conv1"]) is dict
    weight = COPIES[how](net.parameters["scores"]["weight"])
    np.testing.assert_array_equal(weight, net.parameters["scores"]["weight"].numpy())
    weight[...] = 7
    assert (net.parameters["scores"]["weight"].numpy() != 7).all(), "a copy is nobody else's"
    states = COPIES[how](net.states)
    assert {key: array.shape for key, array in states.items()} == {k: s.value.shape for k, s in net.states.items()}


THINGS = {
    "System": (lambda net: net.system, r"net\.states\.copy\(\)"),
    "Net": (lambda net: net, r"net\.states\.copy\(\)"),
    "Blob": (lambda net: net.blobs["conv1"], r"net\.blobs\['conv1'\]\.numpy\(\)"),
    "blobs": (lambda net: net.blobs, r"numpy\(\)"),
    "Program": (lambda net: net.program(), "its net compiles another"),
    "Backend": (lambda net: net.system.backend, r"mocha\.System\('plain'\)"),
    "Plan": (lambda net: net.plan, "Another net of the same layers"),
    "Feeds": (lambda net: net.feeds, "feed.seek"),
    "Feed": (lambda net: net.feeds.first, "feed.seek"),
    "Solver": (lambda net: trained(net), r"SGD\(solver\.parameters\)"),
}


def trained(net):
    solver = SGD(parameters(max_iter=1))
    solver.solve(net)
    return solver


@pytest.mark.parametrize("kind", sorted(THINGS))
@pytest.mark.parametrize("how", ["deepcopy", "pickle"])
def test_what_is_tied_to_a_device_says_how_to_get_at_its_contents(net, kind, how):
    make, way_out = THINGS[kind]
    with pytest.raises(StateError, match=f"cannot be copied or pickled.*{way_out}"):
        COPIES[how](make(net))


@pytest.mark.parametrize("how", sorted(COPIES))
def test_descriptions_are_copied_as_new_descriptions(net, how):
    layers = [COPIES[how](layer) for layer in net.layers if layer.bottoms]
    assert [str(layer) for layer in layers] == [str(layer) for layer in net.layers if layer.bottoms]
    other = mocha.Net("other", net.system, [nets.data(), *layers])
    assert net.parameters["conv1"]["filter"] is not other.parameters["conv1"]["filter"]
    assert COPIES[how](parameters()) == parameters()


def test_what_was_copied_is_loaded_into_a_net_on_another_system(net):
    saved = net.states.copy()
    expected = net.predict(nets.rows()[0], "scores")
    with mocha.System(BACKENDS["blocked"](), dtype="float64", seed=9) as system:
        other = mocha.Net("other", system, [nets.data(), *nets.body()])
        before = other.predict(nets.rows()[0], "scores")
        other.states.load(saved)
        np.testing.assert_allclose(other.predict(nets.rows()[0], "scores"), expected, rtol=1e-10)
        assert np.abs(before - expected).max() > 1e-3
        other.parameters.load(copy.deepcopy(net.parameters))
        assert_arrays(other.parameters.copy(), net)


def test_loading_checks_everything_before_it_writes_anything(net):
    saved = net.states.copy()
    wrong = {key: array + 1 for key, array in saved.items()}
    message = (
        r"Net 'net': expected arrays for each parameter or state, .*side___bias are missing, and none are too many"
    )
    with pytest.raises(UnknownNameError, match=message):
        net.states.load({key: array for key, array in wrong.items() if key != "side___bias"})
    with pytest.raises(UnknownNameError, match="none are missing, and more are too many"):
        net.states.load(wrong | {"more": np.zeros(3)})
    with pytest.raises(ShapeError, match=r"'scores___weight': expected an array of shape \(3, 5\), received \(2,\)"):
        net.states.load(wrong | {"scores___weight": np.zeros(2)})
    with pytest.raises(mocha.MochaError, match="expected arrays to be a Mapping"):
        net.states.load([1, 2])
    with pytest.raises(UnknownNameError, match="Layer 'conv1': expected arrays for each parameter"):
        net.parameters.load(net.parameters.copy() | {"conv1": {}})
    for key, array in net.states.copy().items():
        np.testing.assert_array_equal(array, saved[key])


def test_names_are_attributes_too(net):
    weight = net.parameters["scores"]["weight"]
    assert net.parameters.scores.weight is net.parameters["scores"].weight is weight
    assert net.states.scores___weight is weight
    assert net.blobs.conv1.shape == (6, 3, 6, 6)
    assert {"weight", "bias"} <= set(dir(net.parameters.scores))
    assert not hasattr(net.blobs, "_repr_svg_")
    with pytest.raises(UnknownNameError, match=r"no parameter 'weigth'\. Did you mean 'weight'\? It has: weight, bias"):
        _ = net.parameters.scores.weigth


class Tea(CoffeeBreak):
    def __init__(self):
        self.cups, self._hidden = 2, 3


def test_short_representations(net):
    solver = trained(net)
    solver.add_coffee_break(Tea(), every_n_iter=1)
    found = {type(thing).__name__: repr(thing) for thing in (net.system, net, solver, net.plan, net.program(), Tea())}
    assert found["System"] == "<System on 'plain', float64, seed 3: 1 nets>"
    assert found["Net"].startswith("<Net 'net' on 'plain': 16 layers, ")
    assert found["SGD"] == "<SGD at iteration 1 of 1, 1 coffee breaks>"
    assert found["Plan"] == f"<Plan of Net 'net', training batch 6: {len(net.plan.steps)} steps>"
    assert found["Program"].startswith("<Program of Net 'net', training batch 6: ")
    assert found["Tea"] == "Tea(cups=2)"
    assert all(len(text) < 100 for text in (*found.values(), repr(net.program().memory)))


def test_plans_and_programs_print_what_will_run(net):
    plan = str(net.plan).splitlines()
    assert len(plan) == 1 + len(net.plan.steps)
    line = next(line for line in plan if "tied1" in line and "toy.dot" in line)
    assert line.startswith("forward ")
    assert "float64[6, 5]" in line.partition("->")[2]
    program = str(net.program())
    for use in net.program().kernels():
        assert any(all(part in line for part in use) for line in program.splitlines())


def test_notebooks_show_nets_and_summaries(net):
    assert repr(net.summary()) == str(net.summary())
    for shown, text in ((net, str(net)), (net.summary(), net.summary())):
        html = shown._repr_html_()
        assert html.startswith("<pre>")
        assert text.splitlines()[1] in html
    odd = InnerProductLayer(name="<b>", output_dim=1, bottoms=["data"], tops=["x"])
    assert "&lt;b&gt;" in mocha.Net("odd", net.system, [nets.data(), odd])._repr_html_()


def test_a_net_has_few_names():
    """Machinery is in `net.runs`, which completion does not show."""
    with mocha.System(Plain()) as system:
        loss = SquareLossLayer(name="loss", bottoms=["target", "target"])
        net = mocha.Net("net", system, [nets.data(), loss])
        assert {name for name in dir(net) if not name.startswith("_")} == {
            "name", "system", "layers", "plan", "blobs", "parameters", "states", "gradient", "epoch",
            "freeze", "unfreeze", "frozen", "forward", "backward", "forward_epoch", "predict", "profile",
            "statistics", "reset_statistics", "show_statistics", "summary", "program", "destroy",
        }  # fmt: skip
