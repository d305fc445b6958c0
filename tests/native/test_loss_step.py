"""Softmax loss, objective and both their gradients as one step: the same results, the same refusals."""

import numpy as np
import pytest
from mocha_layers_std.softmax_loss import SoftmaxLoss
from mocha_native.backend import NativeBackend
from nets import BODIES, assert_same, data, lenet, parameters, perceptron

import mocha_core as mocha
from mocha_core import layers, solvers
from mocha_core.describe.layer import Layer
from mocha_core.errors import DataError, NonFiniteError
from mocha_core.graph.op import Op
from mocha_core.testing.inputs import constant
from mocha_core.testing.tolerances import assert_close

#: What the one step is in place of, in a program's order.
APART = [("loss", "softmax_loss", "forward"), ("(net)", "mocha.objective", "forward"),
         ("(net)", "mocha.objective", "backward"), ("loss", "softmax_loss", "backward")]  # fmt: skip
ONE = [("loss", "softmax_loss_step", "forward")]


def loss_steps(program):
    """Layer, op and half of the steps that make losses, objective and their gradients."""
    ops = {op for _, op, _ in (*APART, *ONE)}
    return [use[:3] for use in program.kernels() if use.op in ops]


def images():
    """A label for each pixel."""
    rng = np.random.default_rng(3)
    arrays = [rng.standard_normal((40, 2, 5, 7)), rng.integers(0, 4, (40, 1, 5, 7))]
    return layers.MemoryDataLayer(name="data", batch_size=6, data=constant(arrays), tops=["data", "label"])


def of_pixels():
    return [
        layers.ConvolutionLayer(name="y", n_filter=4, kernel=(3, 3), pad=(1, 1), bottoms=["data"], tops=["y"]),
        layers.SoftmaxLossLayer(name="loss", bottoms=["y", "label"]),
    ]


def weighted(weight):
    return [*perceptron()[:-1], layers.SoftmaxLossLayer(name="loss", weight=weight, bottoms=["y", "label"])]


def trained(backend, body, source=None, dtype="float32", keep=(), **more):
    """The steps of the loss; parameters, velocities and objective after training."""
    with mocha.System(backend, seed=2, dtype=dtype) as system:
        net = mocha.Net("net", system, [source or data(), *body], keep=keep)
        solver = solvers.SGD(parameters(8, **more))
        solver.solve(net)
        arrays = {f"{layer}.{name}": p.numpy() for layer, group in net.parameters.items() for name, p in group.items()}
        arrays |= {name: system.read(value) for name, value in solver.memories(net).items()}
        arrays["objective"] = np.asarray(solver.state.objective)
        return loss_steps(net.runs.training_program(solver)), arrays


def check(body, expected, **more):
    """These steps, with the same bytes for any number of threads, and the same values as without fusions."""
    found, arrays = trained(NativeBackend(threads=1), body, **more)
    assert found == expected
    for threads in (2, 3):
        assert_same(arrays, trained(NativeBackend(threads=threads), body, **more)[1])
    apart, others = trained(NativeBackend(threads=1, fuse=False), body, **more)
    assert not set(ONE) & set(apart)
    for name, array in others.items():
        assert_close(name, arrays[name], array, 1e-12 if more.get("dtype") == "float64" else 2e-5)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("body", BODIES)
def test_one_step_trains_as_four(isa, dtype, body):
    check(BODIES[body](), ONE, dtype=dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_prediction_for_each_pixel(isa, dtype):
    check(of_pixels(), ONE, source=images(), dtype=dtype)


@pytest.mark.parametrize("weight", [0.3, -2.0])
def test_the_weight_counts(weight):
    check(weighted(weight), ONE)


@pytest.mark.parametrize("body", BODIES)
def test_gradients_of_several_minibatches(body):
    check(BODIES[body](), ONE, accumulate=3)


def test_what_checks_the_objective_comes_after_it():
    check(perceptron(), ONE, check_finite=True)
    for threads in (1, 2):
        with mocha.System(NativeBackend(threads=threads), seed=2) as system:
            net = mocha.Net("net", system, [data(), *perceptron()])
            net.parameters["y"]["bias"].set(np.full(10, np.nan))
            with pytest.raises(NonFiniteError, match="objective"):
                solvers.SGD(parameters(9, check_finite=True)).solve(net)


def test_others_may_read_the_prediction():
    check([*lenet(), layers.AccuracyLayer(name="rate", bottoms=["y", "label"])], ONE, keep=["y"])


def test_without_fusions_there_are_four_steps():
    assert trained(NativeBackend(threads=1, fuse=False), perceptron())[0] == APART


def test_two_losses_stay_apart():
    second = layers.SoftmaxLossLayer(name="second", weight=0.5, bottoms=["g", "label"])
    found, _ = trained(NativeBackend(threads=1), [*perceptron(), second])
    assert not set(ONE) & set(found)
    check([*perceptron(), second], found)


def test_another_loss_stays_apart():
    body = [
        *perceptron()[:-1],
        layers.SoftmaxLayer(name="p", bottoms=["y"], tops=["p"]),
        layers.MultinomialLogisticLossLayer(name="loss", bottoms=["p", "label"]),
    ]
    check(body, APART[1:3])


def test_a_gradient_that_another_one_is_added_to():
    """The prediction has another reader with a gradient, and that of the loss is added to it."""
    body = [
        *perceptron()[:-1],
        layers.SoftmaxLossLayer(name="loss", bottoms=["y", "label"]),
        layers.PowerLayer(name="scaled", scale=0.1, bottoms=["y"], tops=["scaled"]),
        layers.SquareLossLayer(name="square", bottoms=["scaled", "y"]),
    ]
    found, _ = trained(NativeBackend(threads=1), body)
    assert not set(ONE) & set(found)
    check(body, found)


class Count(Op):
    """Counts the losses that are not negative."""

    name = "test.count"
    backward_reads = ()
    differentiable = ()
    updates = (1,)

    def infer(self, loss, total):
        return ()

    def forward(self, xp, loss, total):
        return total + xp.astype(loss >= 0, total.dtype)


class CountLayer(Layer):
    """Reads a loss."""

    def build(self, b, loss):
        b.call(Count(), loss, b.statistic("count", "count"))
        return ()


class ShownLossLayer(Layer):
    """A softmax loss whose value is a blob."""

    def build(self, b, *bottoms):
        (loss,) = SoftmaxLoss.record(b, *bottoms)
        b.loss(loss, 1.0)
        return (loss,)


@pytest.mark.parametrize(("keep", "expected"), [((), ONE), (("shown",), APART)])
def test_a_loss_that_is_looked_at_stays_apart(keep, expected):
    body = [*perceptron()[:-1], ShownLossLayer(name="loss", bottoms=["y", "label"], tops=["shown"])]
    check(body, expected, keep=keep)


def test_a_loss_that_another_layer_reads_stays_apart():
    shown = ShownLossLayer(name="loss", bottoms=["y", "label"], tops=["shown"])
    counts = CountLayer(name="count", bottoms=["shown"])
    check([*perceptron()[:-1], shown, counts], APART)


def test_sections_that_run_alone_stay_apart():
    with mocha.System(NativeBackend(threads=2), seed=2) as system:
        net = mocha.Net("net", system, [data(), *perceptron()])
        net.forward()
        net.backward()
        assert loss_steps(net.program()) == APART


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_a_wrong_label_ends_the_run_with_the_same_error(body, threads):
    """In the fifth minibatch; nothing is updated with it."""
    arrays = [np.random.default_rng(1).standard_normal((40, 1, 12, 12)), np.arange(40) % 10]
    arrays[1][37] = 11
    source = layers.MemoryDataLayer(name="data", batch_size=8, data=constant(arrays), tops=["data", "label"])
    left = []
    for fuse in (True, False):
        with mocha.System(NativeBackend(threads=threads, fuse=fuse), seed=2) as system:
            net = mocha.Net("net", system, [source, *BODIES[body]()])
            solver = solvers.SGD(parameters(4))
            solver.solve(net)
            before = {name: state.numpy() for name, state in net.states.items()}
            solver.parameters = parameters(9)
            with pytest.raises(DataError, match=r"Layer 'loss'.*label 11 in row 5") as caught:
                solver.solve(net)
            assert (ONE if fuse else APART) == loss_steps(net.runs.training_program(solver))
            assert solver.state.iteration == 4
            assert not net.runs.half_updated
            assert_same(before, {name: state.numpy() for name, state in net.states.items()})
            left.append(str(caught.value))
    assert left[0] == left[1]
