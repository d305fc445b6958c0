"""Numbers that are not finite stop a run within one iteration, and the error names who made them."""

import gc
from dataclasses import replace

import numpy as np
import pytest
from toys import nets
from toys.backends import BACKENDS
from toys.inner_product import InnerProductLayer
from toys.memory import MemoryLayer
from toys.normal import Normal
from toys.observe import contents, parameters
from toys.plain import Plain
from toys.plugin import Folding
from toys.sgd import SGD
from toys.spoils import SpoilsLayer
from toys.square_loss import SquareLossLayer

import mocha_core as mocha
from mocha_core import hookimpl
from mocha_core.compile.kernel import Kernel
from mocha_core.compile.program import Program
from mocha_core.describe.layer import ComputationLayer
from mocha_core.errors import BackendError, NonFiniteError, StateError
from mocha_core.graph.op import Op
from mocha_core.train.coffee_break import CoffeeBreak
from mocha_core.train.snapshot import capture, restore
from mocha_core.train.solver import Solver
from mocha_core.train.update import UpdateOp

AT = 5


def dense(bottom, top, **options):
    return InnerProductLayer(name=top, output_dim=3, bottoms=[bottom], tops=[top], **options)


def loss(bottom, **options):
    return SquareLossLayer(name=f"loss {bottom}", bottoms=[bottom, "target"], tops=[f"loss {bottom}"], **options)


def spoils(bottom, **options):
    return SpoilsLayer(name="spoils", at=AT, bottoms=[bottom], tops=["spoilt"], **options)


def chain(**options):
    """Two inner products, and between them what makes numbers that are not finite."""
    return [nets.data(), dense("data", "x"), spoils("x", **options), dense("spoilt", "y"), loss("y")]


def stopped(layers, expected, *, backend="plain", iteration=AT, frozen=(), breaks=(), **options):
    """Train until the error; returns the net, closed."""
    with mocha.System(BACKENDS[backend](), dtype="float64", seed=3) as system:
        net = mocha.Net("net", system, layers)
        net.freeze(*frozen)
        solver = SGD(parameters(max_iter=20, **options))
        for coffee in breaks:
            solver.add_coffee_break(coffee, every_n_iter=1)
        with pytest.raises(NonFiniteError, match=expected) as caught:
            solver.solve(net)
        assert solver.state.iteration == iteration
        assert net.feeds.first.cursor == iteration * nets.BATCH * solver.parameters.accumulate
        assert np.isfinite(solver.state.objective)
        for key, array in contents(net).items():
            assert np.isfinite(array).all(), key
        assert f"Net 'net': the {'objective' if 'objective' in str(caught.value) else 'update of parameter'}" in str(
            caught.value
        )
        assert f"in iteration {iteration}." in str(caught.value)
        return str(caught.value)


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_layer_that_makes_them_in_forward(backend, number, accumulate):
    expected = (
        r"objective is not finite in iteration 5. Layer 'spoils' made blob 'spoilt' not finite in forward, from fi"
    )
    stopped(chain(number=number), expected, backend=backend, accumulate=accumulate)


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_layer_that_makes_them_in_backward(backend, accumulate):
    """Its own bottom's gradient, so that the parameters above it are finite."""
    expected = (
        r"update of parameter 'x.weight' is not.*Layer 'spoils' made the gradient of blob 'x' not finite in backward"
    )
    stopped(chain(half="backward"), expected, backend=backend, accumulate=accumulate)


@pytest.mark.parametrize("half", ["forward", "backward"])
@pytest.mark.parametrize("backend", ["plain", "blocked", "deferred"])
def test_among_branches_several_losses_tied_and_frozen_layers(backend, half):
    """The gradient of 'h' is added to by three steps, of which one is spoilt; the first of them is not to blame."""
    layers = [
        nets.data(),
        dense("data", "h"),
        dense("h", "left"),
        dense("h", "right", param_key="tied"),
        spoils("h", half=half),
        dense("spoilt", "middle", param_key="tied"),
        *(loss(top, weight=0.5) for top in ("left", "right", "middle")),
    ]
    what = {"forward": "blob 'spoilt' not finite in forward", "backward": "the gradient of blob 'h' not finite in back"}
    stopped(layers, f"Layer 'spoils' made {what[half]}", backend=backend)
    stopped(layers, f"Layer 'spoils' made {what[half]}", backend=backend, frozen=["left"])


def test_a_layer_whose_gradient_nobody_wants():
    """Backward does not go through frozen layers: nothing that is used is spoilt."""
    with mocha.System(Plain(), dtype="float64", seed=3) as system:
        net = mocha.Net("net", system, chain(half="backward"))
        net.freeze("x")
        SGD(parameters(max_iter=20)).solve(net)


class Sets(CoffeeBreak):
    """Puts a number into a parameter or state."""

    def __init__(self, key, number=float("nan")):
        self.key, self.number = key, number

    def enjoy(self, solver, net):
        if solver.state.iteration == AT:
            array = net.states[self.key].numpy()
            array.flat[-1] = self.number
            net.states[self.key].set(array)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("key", ["conv1___filter", "scores___bias", "side___weight", "tied1___weight"])
def test_a_parameter_that_was_set(backend, key):
    layers = [nets.data(), *nets.body(), *nets.losses()]
    with mocha.System(BACKENDS[backend](), dtype="float64", seed=3) as system:
        net = mocha.Net("net", system, layers)
        solver = SGD(parameters(max_iter=20))
        solver.add_coffee_break(Sets(key), every_n_iter=1)
        layer, name = key.split("___")
        with pytest.raises(
            NonFiniteError, match=f"Layer '{layer}': parameter '{name}' holds nan, which was set from out"
        ):
            solver.solve(net)
        assert solver.state.iteration == AT
        with pytest.raises(NonFiniteError, match=f"'{key}' of Net 'net' is not finite, and is not saved"):
            capture(solver, net)


class Scale(Op):
    name = "toy.scale_by_state"
    backward_reads = ("x1",)
    differentiable = (0,)

    def infer(self, x, scale):
        return (x,)

    def forward(self, xp, x, scale):
        return x * scale

    def backward(self, xp, dy, x, y, wanted):
        return dy[0] * x[1], None


class ScaleLayer(ComputationLayer):
    """Times a state."""

    def build(self, b, x):
        return b.call(Scale(), x, b.state("scale", (1,), Normal()))


class Counting(UpdateOp):
    """Remembers what grows beyond all numbers, and does not use it."""

    name = "toy.counting"
    slots = ("count",)

    def rule(self, xp, w, g, count, rate):
        return rate * g, 1e200 * (count + 1)


class CountingSolver(Solver):
    update_op = Counting


@pytest.mark.parametrize("check_finite", [True, False])
def test_a_slot_alone_is_not_finite(check_finite):
    """It is not written where that is checked, and not saved in any case."""
    with mocha.System(Plain(), dtype="float64", seed=3) as system:
        net = mocha.Net("net", system, [nets.data(), dense("data", "x"), loss("x")])
        solver = CountingSolver(parameters(max_iter=2, check_finite=check_finite))
        if check_finite:
            with pytest.raises(
                NonFiniteError, match=r"the update of parameter 'x\.weight' is not finite in iteration 1"
            ):
                solver.solve(net)
            assert net.system.read(solver.memories(net)["count/x___weight"]).max() == 1e200
        else:
            solver.solve(net)
            assert np.isfinite(net.states["x___weight"].numpy()).all()
            with pytest.raises(NonFiniteError, match="'count/x___weight' of Net 'net' is not finite, and is not saved"):
                capture(solver, net)


def test_a_state_that_was_set():
    scale = ScaleLayer(name="scale", bottoms=["x"], tops=["s"])
    layers = [nets.data(), dense("data", "x"), scale, loss("s")]
    with mocha.System(Plain(), dtype="float64", seed=3) as system:
        net, solver = mocha.Net("net", system, layers), SGD(parameters(max_iter=20))
        solver.add_coffee_break(Sets("scale___scale"), every_n_iter=1)
        with pytest.raises(NonFiniteError, match=r"Layer 'scale': state 'scale' is not finite. Load"):
            solver.solve(net)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_state_that_reaches_no_loss_is_not_saved_if_it_is_no_number(number):
    """Infinity may be meant: what a smallest number so far begins with."""
    with mocha.System(Plain(), dtype="float64", seed=3) as system:
        net = mocha.Net("net", system, [nets.data(), *nets.body(), *nets.losses()])
        solver = SGD(parameters(max_iter=AT))
        state = next(key for key in net.states if key.startswith("norm___"))
        solver.add_coffee_break(Sets(state, number), every_n_iter=1)
        solver.solve(net)
        if number == float("inf"):
            assert capture(solver, net).parameters[state].max() == number
            return
        with pytest.raises(NonFiniteError, match=f"'{state}' of Net 'net' is not finite, and is not saved"):
            capture(solver, net)


def test_a_slot_that_was_restored():
    with mocha.System(Plain(), dtype="float64", seed=3) as system:
        net, solver = mocha.Net("net", system, chain()), SGD(parameters(max_iter=3))
        solver.solve(net)
        snapshot = capture(solver, net)
        snapshot.slots["velocity/x___bias"][1] = np.inf
        restore(snapshot, solver, net)
        solver.parameters = parameters(max_iter=20)
        with pytest.raises(
            NonFiniteError, match="The solver's 'velocity/x___bias' holds inf, which was set from outside"
        ):
            solver.solve(net)
        assert solver.state.iteration == 3


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_row_of_the_data(backend, shuffle, accumulate):
    """Row 13 of 20: in order, it is in the third minibatch of six."""
    arrays = [array.astype("float64") for array in nets.rows()]
    arrays[2][13, 1] = np.inf
    data = MemoryLayer(
        name="data", batch_size=nets.BATCH, arrays=tuple(arrays), tops=("data", "label", "target"), shuffle=shuffle
    )
    with mocha.System(BACKENDS[backend](), dtype="float64", seed=3) as system:
        net = mocha.Net("net", system, [data, dense("data", "x"), loss("x")])
        order = np.concatenate([net.feeds["data"].rows_from(s, 20) for s in (0, 20)])
        solver = SGD(parameters(max_iter=20, accumulate=accumulate))
        with pytest.raises(
            NonFiniteError, match=r"Layer 'data': blob 'target', row 13 of its source, holds inf. Check"
        ):
            solver.solve(net)
        assert solver.state.iteration == list(order).index(13) // (nets.BATCH * accumulate)


@pytest.mark.parametrize("backend", ["plain", "blocked", "deferred"])
def test_a_learning_rate_that_is_too_high(backend):
    """In float32, and momentum off: what overflows first is the objective or an update."""
    with mocha.System(BACKENDS[backend](), dtype="float32", seed=3) as system:
        net = mocha.Net("net", system, [nets.data(), dense("data", "x"), dense("x", "y"), loss("y")])
        with pytest.raises(
            NonFiniteError, match=r"made .* not finite in .*from finite inputs.*Lower the learning rate"
        ):
            SGD(parameters(max_iter=20, lr_policy=1e12)).solve(net)


@pytest.mark.parametrize("backend", ["plain", "deferred"])
def test_an_update_that_overflows(backend):
    """The gradient is finite, and times the learning rate it is not. What is not finite is never written."""
    with mocha.System(BACKENDS[backend](), dtype="float32", seed=3) as system:
        net = mocha.Net("net", system, [nets.data(), dense("data", "x"), loss("x")])
        solver = SGD(parameters(max_iter=20, lr_policy=3e38))
        before = capture(solver, net)
        expected = (
            r"the update of parameter 'x.weight' is not finite in iteration 0. Its gradient is finite, so the step"
        )
        with pytest.raises(NonFiniteError, match=expected):
            solver.solve(net)
        assert all(np.isfinite(array).all() for array in contents(net).values())
        with pytest.raises(StateError, match="one update ahead"):
            solver.solve(net)
        restore(before, solver, net, solver_state=False)
        solver.parameters = parameters(max_iter=3)
        solver.solve(net)
        assert solver.state.iteration == 3


@pytest.mark.parametrize("folding", [False, True])
def test_updates_before_the_one_that_overflows_are_remembered(register, folding):
    """The multiplier of the last parameter makes it overflow alone; all before it were updated already."""
    if folding:
        register(Folding(), "mocha-folding")

    class Steep(InnerProductLayer):
        def build(self, b, x):
            tops = super().build(b, x)
            b._recorder.states()[f"{self.name}___bias"].multiplier = 1e308
            return tops

    layers = [nets.data(), dense("data", "x"), Steep(name="y", output_dim=3, bottoms=["x"], tops=["y"]), loss("y")]
    with mocha.System(BACKENDS["blocked"](), dtype="float64", seed=3) as system:
        net, solver = mocha.Net("net", system, layers), SGD(parameters(max_iter=1, lr_policy=0.0))
        solver.solve(net)
        solver.parameters = parameters(max_iter=20, lr_policy=1e10, regu_coef=0.0)
        before = contents(net)
        saved = capture(solver, net)
        with pytest.raises(NonFiniteError, match=r"the update of parameter 'y.bias' is not finite in iteration 1"):
            solver.solve(net)
        after = contents(net)
        np.testing.assert_array_equal(after["y___bias"], before["y___bias"])
        assert not np.array_equal(after["x___weight"], before["x___weight"])
        with pytest.raises(StateError, match="one update ahead"):
            solver.solve(net)
        restore(saved, solver, net)
        for key, array in contents(net).items():
            np.testing.assert_array_equal(array, before[key])


def test_folded_updates_are_withheld_from_an_objective_that_is_not_finite(register):
    register(Folding(), "mocha-folding")
    with mocha.System(BACKENDS["blocked"](), dtype="float64", seed=3) as system:
        net, solver = mocha.Net("net", system, chain()), SGD(parameters(max_iter=AT))
        solver.solve(net)
        assert "toy.dot+sgd" in {use.op for use in net.runs.last_program().kernels()}
        before = contents(net)
        solver.parameters = parameters(max_iter=20)
        with pytest.raises(NonFiniteError, match="Layer 'spoils' made blob 'spoilt'"):
            solver.solve(net)
        for key, array in contents(net).items():
            np.testing.assert_array_equal(array, before[key])
        assert not net.runs.half_updated


@pytest.mark.parametrize("backend", ["plain", "blocked", "deferred"])
def test_what_is_left_is_what_the_iteration_found(backend):
    """Parameters, statistics, cursors, and how much of the net is in memory; what comes next is as if nothing was."""
    layers = [nets.data(), *nets.body(), *nets.losses(), *nets.accuracy()]
    at = next(i for i, layer in enumerate(layers) if layer.name == "scores")
    layers[at] = replace(layers[at], bottoms=["spoilt"])
    layers.insert(at, spoils("tied2"))
    with mocha.System(BACKENDS[backend](), dtype="float64", seed=3) as system:
        net, solver = mocha.Net("net", system, layers), SGD(parameters(max_iter=AT))
        solver.solve(net)
        totals = [system.read(statistic.total) for statistic in net.plan.statistics]
        programs, stored = set(net.runs.programs()), len(system.storage._buffers)
        compiled = []
        compile_ = system.backend.compile
        system.backend.compile = lambda *a: (compiled.append(compile_(*a)), compiled[-1])[1]
        states = {k: s.numpy() for k, s in net.states.items() if s.value.role == "state"}
        assert states
        solver.parameters = parameters(max_iter=20)
        with pytest.raises(NonFiniteError, match="Layer 'spoils'"):
            solver.solve(net)
        for key, array in states.items():
            np.testing.assert_array_equal(net.states[key].numpy(), array)
        for statistic, total in zip(net.plan.statistics, totals, strict=True):
            np.testing.assert_array_equal(system.read(statistic.total), total)
        assert net.feeds["data"].cursor == AT * nets.BATCH
        assert len(compiled) == 1, "the minibatch was run again"
        compiled.clear()
        assert set(net.runs.programs()) == programs
        gc.collect()
        assert len(system.storage._buffers) == stored


class Once(Kernel):
    """What nobody can repeat: a kernel that fails in its own sixth run."""

    runs = 0

    def forward(self, ins, outs, add):
        def run():
            Once.runs += 1
            outs[0][...] = ins[0] * (np.nan if Once.runs == AT + 1 else 1)

        return run

    def backward(self, ins, outs, add):
        def run():
            outs[0][...] = ins[0]

        return run


def test_what_does_not_repeat_is_said(register):
    class Plugin:
        @hookimpl
        def mocha_register_kernels(self, kernels):
            kernels.add("toy.spoils", "plain", lambda backend, call: Once())

    register(Plugin(), "once")
    Once.runs = 0
    layers = [nets.data(), dense("data", "x"), SpoilsLayer(name="s", at=-1, bottoms=["x"], tops=["s"]), loss("s")]
    stopped(
        layers, "objective is not finite in iteration 5. The same minibatch, run again, gave finite numbers: some ke"
    )


@pytest.mark.parametrize("error", [BackendError("1,000 bytes are more than it can give"), MemoryError("too much")])
def test_what_does_not_fit_in_memory_is_said(error):
    with mocha.System(Plain(), dtype="float64", seed=3) as system:
        net, solver = mocha.Net("net", system, chain()), SGD(parameters(max_iter=20))
        net.runs.training_program(solver)

        def compile_(plan, storage):
            raise error

        system.backend.compile = compile_
        expected = rf"not finite in iteration 5. The cause is unknown, because the minibatch could not .*\({error}\)"
        with pytest.raises(NonFiniteError, match=expected):
            solver.solve(net)
        assert solver.state.iteration == AT


def test_without_the_check_nothing_is_recorded():
    """The objective is looked at when the run ends, and the program is of the same steps but for the check."""
    steps = {}
    for check_finite in (True, False):
        with mocha.System(Plain(), dtype="float64", seed=3) as system:
            net = mocha.Net("net", system, chain())
            solver = SGD(parameters(max_iter=20, check_finite=check_finite))
            steps[check_finite] = [use.op for use in net.runs.training_program(solver).kernels()]
            updates = [
                s.call.op.fault for s in net.runs.training_program(solver).plan.steps if s.call.op.name == "toy.sgd"
            ]
            assert all(updates) == any(updates) == check_finite
            if not check_finite:
                with pytest.raises(
                    NonFiniteError, match=r"objective is not finite since iteration 5.*check_finite=True"
                ):
                    solver.solve(net)
                assert solver.state.iteration == 20
    assert steps[True].count("mocha.check_finite") == 1
    assert [op for op in steps[True] if op != "mocha.check_finite"] == steps[False]


def test_the_check_changes_no_number():
    seen = []
    for check_finite in (True, False):
        with mocha.System(Plain(), seed=3) as system:
            net = mocha.Net("net", system, [nets.data(), *nets.body(), *nets.losses()])
            SGD(parameters(max_iter=9, check_finite=check_finite)).solve(net)
            seen.append(contents(net))
    for key, array in seen[0].items():
        np.testing.assert_array_equal(array, seen[1][key])


def test_a_program_that_does_nothing_and_says_nothing():
    class Idle(Program):
        def iterate(self, n, schedule, stop=None):
            return 0

    class IdleBackend(Plain):
        name = "idle"

        def executor(self, *parts):
            return Idle(self, *parts)

    with mocha.System(IdleBackend(), seed=3) as system:
        net = mocha.Net("net", system, [nets.data(), dense("data", "x"), loss("x")])
        with pytest.raises(BackendError, match="backend 'idle' did no iteration and reported no fault"):
            SGD(parameters(max_iter=3)).solve(net)
