"""Arguments of the wrong kind: a MochaError that names what was expected, never somebody else's exception."""

import numpy as np
import pytest
from toys import nets
from toys.inner_product import InnerProductLayer
from toys.observe import assert_equal, contents, parameters
from toys.plain import Plain
from toys.sgd import SGD
from toys.square_loss import SquareLossLayer

import mocha_core as mocha
from mocha_core import checks
from mocha_core.describe.layer import ComputationLayer
from mocha_core.errors import (
    BackendError,
    ConfigurationError,
    FileError,
    MochaError,
    PluginError,
    ShapeError,
    StateError,
    TopologyError,
)  # fmt: skip
from mocha_core.graph.op import Op
from mocha_core.graph.value import Spec
from mocha_core.train.coffee_break import CoffeeBreak
from mocha_core.train.solver import Policy, Solver
from mocha_core.train.update import UpdateOp


@pytest.fixture
def net(system):
    x = InnerProductLayer(name="x", output_dim=3, bottoms=["data"], tops=["x"])
    return mocha.Net("net", system, [nets.data(), x, SquareLossLayer(bottoms=["x", "target"])])


@pytest.mark.parametrize("system", [None, "cpu", []])
def test_a_system_that_is_none(system):
    with pytest.raises(ConfigurationError, match="expected system to be a System"):
        mocha.Net("net", system, [nets.data()])


@pytest.mark.parametrize("layers", [None, nets.data()])
def test_layers_that_are_no_list(system, layers):
    with pytest.raises(TopologyError, match="Net 'net': expected a list of layers"):
        mocha.Net("net", system, layers)


@pytest.mark.parametrize("what", [list(range(10**6)), np.zeros((1000, 1000)), "x" * 10**6])
def test_messages_are_short_whatever_was_given(system, what):
    for build in (
        lambda: mocha.Net("net", system, what), lambda: mocha.Net("net", system, [what]),
        lambda: mocha.Net("net", what, []),
        lambda: SGD(what), lambda: mocha.System(dtype=what), lambda: mocha.SolverParameters(max_iter=what),
        lambda: InnerProductLayer(name=[what], output_dim=3), lambda: mocha.load_network(what, None),
        lambda: built(system, lambda b, x: what),
    ):  # fmt: skip
        with pytest.raises(MochaError) as caught:
            build()
        assert len(str(caught.value)) < 600


def test_lists_of_names_are_short(system):
    wide = [InnerProductLayer(name=f"x{i}", output_dim=1, bottoms=["data"], tops=[f"x{i}"]) for i in range(300)]
    with pytest.raises(TopologyError, match=r"The net makes: data, label.*, \.\.\. \(304 in all\)"):
        mocha.Net("net", system, [nets.data(), *wide, InnerProductLayer(output_dim=1, bottoms=["?"], tops=["y"])])
    loop = [
        InnerProductLayer(name=f"x{i}", output_dim=1, bottoms=[f"x{i}"], tops=[f"x{(i + 1) % 300}"]) for i in range(300)
    ]
    with pytest.raises(TopologyError, match=r"cycle .* \(300 in all\)"):
        mocha.Net("net", system, [nets.data(), *loop])
    with pytest.raises(MochaError, match=r"no layer 'zz'\. It has: .* \(301 in all\)"):
        mocha.Net("net", system, [nets.data(), *wide]).freeze("zz")


def test_lists_of_long_names_are_short(system):
    names = [f"{'x' * 150}{i}" for i in range(40)]
    wide = [InnerProductLayer(name=name, output_dim=1, bottoms=["data"], tops=[name]) for name in names]
    net = mocha.Net("net", system, [nets.data(), *wide])
    for use in (
        lambda: net.freeze("zz"), lambda: net.predict(np.zeros(3), "zz"), lambda: net.states.load({}),
        lambda: net.predict(dict.fromkeys(names, np.zeros((2, 3))), names[0]),
        lambda: mocha.Net("net", system, [*net.layers, InnerProductLayer(output_dim=1, bottoms=["?"], tops=["y"])]),
    ):  # fmt: skip
        with pytest.raises(MochaError, match=r"x\.\.\..*in all\)") as caught:
            use()
        assert len(str(caught.value)) < 600


@pytest.mark.parametrize("bottoms", [5, {"data", "label"}])
def test_bottoms_that_are_no_sequence(bottoms):
    with pytest.raises(ConfigurationError, match="expected bottoms to be a list of blob names"):
        InnerProductLayer(name="x", output_dim=1, bottoms=bottoms, tops=["x"])


@pytest.mark.parametrize("value", ["0.5", 10**400, True])
def test_a_number_that_is_text_too_large_or_a_truth_value(value):
    with pytest.raises(ConfigurationError, match="layer: expected ratio to be a finite number"):
        checks.number("layer", "ratio", value)


@pytest.mark.parametrize("what", [None, [], 5])
def test_solving_what_is_no_net(what):
    with pytest.raises(ConfigurationError, match="SGD: expected net to be a Net"):
        SGD(parameters()).solve(what)


@pytest.mark.parametrize("backend", [5, True, []])
def test_a_backend_that_is_no_name(backend):
    with pytest.raises((BackendError, ConfigurationError), match="backend"):
        mocha.System(backend)


@pytest.mark.parametrize(
    ("prefer", "message"),
    [
        ({"toy.dot": "acme"}, r"received 'acme' for 'toy\.dot'\. These have: .*\S\."),
        ({"toy.dott": "acme"}, r"received 'acme' for 'toy\.dott'\. Did you mean 'toy\.dot'\?"),
        ({"?": "acme"}, r"received 'acme' for '\?'\. Ops with kernels: "),
        ({3: 4}, "received 4 for 3"),
    ],
)
def test_a_preference_for_what_is_not_there(prefer, message):
    with pytest.raises(ConfigurationError, match=message):
        mocha.System(Plain(), prefer=prefer)


@pytest.mark.parametrize("dtype", [np.float64, np.dtype("float64"), "float64"])
def test_a_dtype_of_numpys_is_one_of_ours(dtype):
    with mocha.System(Plain(), dtype=dtype) as system:
        assert system.dtype == "float64"
    with pytest.raises(ConfigurationError, match="expected dtype to be one of"):
        mocha.System(Plain(), dtype=np.float16)


def test_a_backend_named_in_the_environment(monkeypatch):
    monkeypatch.setenv("MOCHA_BACKEND", "plian")
    with pytest.raises(BackendError, match=r"No backend 'plian'\. Did you mean 'plain'\?.* from MOCHA_BACKEND"):
        mocha.System()


def test_a_preference_that_says_not_for_what():
    with pytest.raises(ConfigurationError, match="prefer"):
        mocha.System(Plain(), prefer="acme")


@pytest.mark.parametrize("rows", [np.full((2, 2, 8, 8), "a"), [[1, 2], [3]], np.ones((2, 2, 8, 8)) * 1j])
def test_predicting_what_are_no_numbers(net, rows):
    with pytest.raises(ShapeError, match=r"Net 'net'.*expected.*numbers"):
        net.predict(rows, "x")


@pytest.mark.parametrize("dtype", [complex, "U1"])
def test_setting_what_are_no_numbers(net, dtype):
    parameter = net.parameters["x"]["weight"]
    with pytest.raises(ShapeError, match="'x___weight': expected an array of numbers"):
        parameter.set(np.ones(parameter.value.shape).astype(dtype))


def test_names_that_the_dicts_of_a_net_do_not_have(net):
    assert "nosuch" not in net.blobs
    assert net.blobs.get("nosuch") is None
    with pytest.raises(MochaError, match=r"has no layer with parameters 'y'\. It has: x"):
        net.parameters["y"]


@pytest.mark.parametrize(("end", "message"), [("destroy", "was destroyed"), ("close", "System is closed")])
def test_blobs_after_the_end(net, system, end, message):
    net.forward()
    net.destroy() if end == "destroy" else system.close()
    with pytest.raises(StateError, match=message):
        net.blobs["x"].numpy()


WRONG = [None, 5, b"x", [], ["x"], {}, {5: 3}, np.zeros(3), np.zeros((2, 2)), 1j, int, "y" * 2000]
USES = {
    "predict": lambda net, what: net.predict(nets.rows()[0], what),
    "rows": lambda net, what: net.predict(what, "x"),
    "rows by name": lambda net, what: net.predict({str(what): nets.rows()[0], 5: nets.rows()[0]}, "x"),
    "batch_size": lambda net, what: net.predict(nets.rows()[0], "x", batch_size=[what]),
    "freeze": lambda net, what: net.freeze(what),
    "program": lambda net, what: net.program([what]),
    "gradient": lambda net, what: net.gradient(what, "weight"),
    "profile": lambda net, what: net.profile(1, [what]),
    "blobs": lambda net, what: net.blobs[what],
    "parameters": lambda net, what: net.parameters["x"][what],
    "feeds": lambda net, what: net.feeds[what],
    "states": lambda net, what: net.states.load(dict.fromkeys(map(str, range(1000)), what)),
    "name": lambda net, what: mocha.Net([what], net.system, net.layers),
    "prefer": lambda net, what: mocha.System(Plain(), prefer=[what]),
    "signals": lambda net, what: SGD(parameters()).solve(net, signals=[[what]]),
    "save": lambda net, what: mocha.save_network("x.toy", what),
    "load": lambda net, what: mocha.load_network("x.toy", what),
    "strict": lambda net, what: mocha.load_network("x.toy", net, strict=what),
    "layer": lambda net, what: InnerProductLayer(name=what, output_dim=3, bottoms=["data"], tops=["x"]),
}


@pytest.mark.parametrize("use", USES)
def test_a_wrong_argument_of_a_method_is_named(net, use):
    net.forward()
    for what in WRONG:
        with pytest.raises(MochaError) as caught:
            USES[use](net, what)
        assert len(str(caught.value)) < 600


def test_masked_elements_are_no_numbers(net):
    """A net cannot leave them out."""
    masked = np.ma.masked_less(nets.rows()[0], 0.0)
    bias = net.parameters["x"]["bias"]
    net.forward()
    for use in (
        lambda: net.predict(masked, "x"),
        lambda: bias.set(np.ma.masked_equal(bias.numpy(), bias.numpy()[0])),
        lambda: net.blobs["x"].set(np.ma.masked_equal(np.zeros((6, 3)), 0.0)),
    ):
        with pytest.raises(ShapeError, match=r"without masked elements.*filled\(0\)"):
            use()
    np.testing.assert_array_equal(net.predict(np.ma.asarray(nets.rows()[0]), "x"), net.predict(nets.rows()[0], "x"))


@pytest.mark.parametrize("path", [None, 5])
def test_paths_that_are_none(net, path):
    for action in (mocha.save_network, mocha.load_network):
        with pytest.raises(ConfigurationError, match="path"):
            action(path, net)


def test_parameters_that_do_not_fit_into_memory(system):
    layers = [nets.data(), InnerProductLayer(name="huge", output_dim=10**15, bottoms=["target"], tops=["x"])]
    with pytest.raises(BackendError, match=r"huge.*bytes"):
        mocha.Net("net", system, layers)


def test_the_same_coffee_break_twice():
    solver, coffee = SGD(parameters()), CoffeeBreak()
    solver.add_coffee_break(coffee, every_n_iter=1)
    with pytest.raises(ConfigurationError, match="twice"):
        solver.add_coffee_break(coffee, every_n_iter=2)


def test_every_break_is_destroyed_though_one_fails(net):
    class Fails(CoffeeBreak):
        def destroy(self, solver, net):
            raise ZeroDivisionError

    class Notes(CoffeeBreak):
        done = False

        def destroy(self, solver, net):
            self.done = True

    solver, notes = SGD(parameters(max_iter=1)), Notes()
    solver.add_coffee_break(notes, every_n_iter=1)
    solver.add_coffee_break(Fails(), every_n_iter=1)
    with pytest.raises(ZeroDivisionError):
        solver.solve(net)
    assert notes.done


@pytest.mark.parametrize("name", ["/a", "a//b", "a\0b", "a/./b"])
def test_layer_names_that_no_file_can_hold(name):
    with pytest.raises(ConfigurationError, match="name"):
        InnerProductLayer(name=name, output_dim=1, bottoms=["data"], tops=["x"])


def test_a_break_that_fails_when_it_is_destroyed_does_not_hide_what_ended_the_run(net):
    class Fails(CoffeeBreak):
        def enjoy(self, solver, net):
            if solver.state.iteration == 2:
                raise FileError("first")

        def destroy(self, solver, net):
            raise ZeroDivisionError("second")

    class FailsToo(CoffeeBreak):
        def destroy(self, solver, net):
            raise KeyError("third")

    solver = SGD(parameters(max_iter=4))
    solver.add_coffee_break(FailsToo(), every_n_iter=1)
    solver.add_coffee_break(Fails(), every_n_iter=1)
    with pytest.raises(FileError, match="first") as caught:
        solver.solve(net)
    assert caught.value.__notes__ == [
        "Afterwards, Fails.destroy failed: ZeroDivisionError: second",
        "Afterwards, FailsToo.destroy failed: KeyError: 'third'",
    ]


@pytest.mark.parametrize("value", [None, 1j, "0.1", np.ones(2), -1.0, float("nan")])
def test_a_policy_whose_value_is_no_number(net, value):
    class Odd(Policy):
        def __call__(self, iteration):
            return 0.1 if iteration < 3 else value

        def __str__(self):
            return "Odd"

    with pytest.raises(ConfigurationError, match=r"Odd: expected its value at iteration 3 to be a finite number"):
        SGD(parameters(max_iter=5, lr_policy=Odd())).solve(net)


def test_a_policy_that_fails(net):
    class Fails(Policy):
        def __call__(self, iteration):
            return 1 / iteration

        def __str__(self):
            return "Fails"

    with pytest.raises(PluginError, match=r"Fails at iteration 0 failed: ZeroDivisionError.*Fix it"):
        SGD(parameters(max_iter=5, lr_policy=Fails())).solve(net)


class Twice(Op):
    name = "test.twice"
    inferred: object = None
    made: object = None

    def infer(self, x):
        return (x,) if self.inferred is None else self.inferred

    def forward(self, xp, x):
        return self.made(x) if callable(self.made) else 2 * x

    def backward(self, xp, dy, x, y, wanted):
        return (2 * dy[0],)


def built(system, build):
    class TwiceLayer(ComputationLayer):
        def build(self, b, x):
            return build(b, x)

    loss = SquareLossLayer(bottoms=["t", "data"])
    return mocha.Net("net", system, [nets.data(), TwiceLayer(name="t", bottoms=["data"], tops=["t"]), loss])


@pytest.mark.parametrize(
    "returned", [None, "t", lambda x: x, lambda x: (v for v in [x]), lambda x: (1,), Twice()], ids=repr
)
def test_a_layer_that_builds_no_values(system, returned):
    with pytest.raises(
        TopologyError, match=r"TwiceLayer\(t\) in net 'net', bottoms 'data'.*: build returned .*expected a tuple"
    ):
        built(system, lambda b, x: returned(x) if callable(returned) else returned)


@pytest.mark.parametrize("build", [lambda b, x: b.call(Twice(), 3), lambda b, x: 1 / 0])
def test_a_layer_that_fails_to_build_is_named(system, build):
    with pytest.raises((AttributeError, ZeroDivisionError)) as caught:
        built(system, build)
    assert caught.value.__notes__ == ["TwiceLayer(t) in net 'net', bottoms 'data' float64[6, 2, 8, 8]"]


@pytest.mark.parametrize(
    "inferred",
    [3, "ab", ("ab",), Spec((2, 3), "float32"), (Spec((-1, 3), "float32"),), (Spec((2.0, 3), "float32"),),
     (Spec((2, 3), "float99"),), (Spec((2, 3), np.dtype("float32")),), (Spec(None, "float32"),)],
    ids=repr,
)  # fmt: skip
def test_an_op_that_infers_no_specs(system, inferred):
    with pytest.raises(ShapeError, match=r"TwiceLayer\(t\).*op 'test.twice' inferred .*expected a tuple with a Spec"):
        built(system, lambda b, x: b.call(Twice(inferred=inferred), x))


@pytest.mark.parametrize("made", [lambda x: x[:2], lambda x: (x, x), lambda x: 1 / 0])
def test_an_op_that_fails_is_named(system, made):
    net = built(system, lambda b, x: b.call(Twice(made=made), x))
    with pytest.raises(PluginError, match=r"Layer 't': forward of op 'test.twice' failed: .*Fix the op"):
        net.forward()


@pytest.mark.parametrize(
    "rule",
    [lambda w, v: None, lambda w, v: w, lambda w, v: (w,), lambda w, v: (w, v, v), lambda w, v: [w, v],
     lambda w, v: (w.sum(), v), lambda w, v: (w, v.sum()), lambda w, v: (w.reshape(-1), v), lambda w, v: (w, None),
     lambda w, v: (0.5, v)],
)  # fmt: skip
def test_a_rule_that_returns_something_else(net, rule):
    class Odd(UpdateOp):
        name = "test.odd"
        slots = ("velocity",)

        def rule(self, xp, w, g, velocity, learning_rate):
            return rule(w, velocity)

    class OddSolver(Solver):
        update_op = Odd

    before = contents(net)
    expected = r"rule of op 'test.odd' returned .*expected a tuple of the step, velocity, each \(3, "
    with pytest.raises(MochaError, match=expected):
        OddSolver(parameters(max_iter=2)).solve(net)
    assert_equal(contents(net), before)
