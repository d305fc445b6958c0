"""The executor: which steps Python runs, faults, stops, exceptions in the middle, and schedules."""

import threading

import numpy as np
import pytest
from mocha_native.backend import NativeBackend
from mocha_native.compiled import Compiled
from nets import assert_same, data, lenet, parameters, perceptron

import mocha_core as mocha
from mocha_core import hookimpl, layers, solvers
from mocha_core.compile.kernel import Kernel
from mocha_core.describe.layer import ComputationLayer
from mocha_core.describe.source import Source
from mocha_core.errors import ConfigurationError, DataError, NonFiniteError
from mocha_core.graph.op import Op
from mocha_core.graph.plan import Section
from mocha_core.plugin.manager import plugin_manager
from mocha_core.testing.inputs import constant
from mocha_core.testing.sample_runs import gradients

THREADS = [1, 2, 3]


def kinds(program):
    return [isinstance(bound.run, Compiled) for bound in program.bound]


def opened(threads, *body, **more):
    system = mocha.System(NativeBackend(threads=threads), seed=2)
    net = mocha.Net("net", system, [data(), *(body or perceptron())])
    return system, net, solvers.SGD(parameters(**more))


def test_an_iteration_of_a_perceptron_has_no_step_in_python():
    system, net, solver = opened(1)
    with system:
        assert all(kinds(net.runs.training_program(solver)))


class Twice(Op):
    """An op without a kernel, which cannot be traced."""

    name = "test.twice"
    backward_reads = ()

    def infer(self, x):
        return (x,)

    def forward(self, xp, x):
        return xp.sum(xp.stack([x, x]), axis=0)  # a sum cannot be traced

    def backward(self, xp, dy, x, y, wanted):
        return (xp.sum(xp.stack([dy[0], dy[0]]), axis=0),)


class TwiceLayer(ComputationLayer):
    def build(self, b, x):
        return b.call(Twice(), x)


def test_steps_in_python_are_the_ops_without_a_kernel_in_c():
    head = layers.InnerProductLayer(name="y", output_dim=10, bottoms=["data"], tops=["y"])
    twice = TwiceLayer(name="twice", bottoms=["y"], tops=["z"])
    loss = layers.SoftmaxLossLayer(name="loss", bottoms=["z", "label"])
    system, net, solver = opened(2, head, twice, loss)
    with system:
        program = net.runs.training_program(solver)
        python = {b.step.call.op.name for b in program.bound if not isinstance(b.run, Compiled)}
        assert python == {"test.twice"}


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("accumulate", [1, 3])
def test_objectives_and_done(threads, accumulate):
    system, net, solver = opened(threads, max_iter=7, accumulate=accumulate)
    with system:
        solver.solve(net)
        program = net.runs.training_program(solver)
        assert program.done == 7
        assert program.objectives.shape == (7 * accumulate,)
        assert np.isfinite(program.objectives).all()
        assert len(set(program.objectives)) == 7 * accumulate


@pytest.mark.parametrize("threads", THREADS)
def test_stop_ends_after_the_iteration_in_hand(threads):
    system, net, solver = opened(threads)
    with system:
        program = net.runs.training_program(solver)
        net.runs.train(program, 5, 0, solver.schedule(0, 5), np.ones(1, np.int32))
        assert program.done == 1
        net.runs.train(program, 5, 1, solver.schedule(1, 5), np.zeros(1, np.int32))
        assert program.done == 5


@pytest.mark.parametrize("threads", THREADS)
def test_a_wrong_label_ends_the_run_before_its_update(threads):
    arrays = [np.random.default_rng(0).standard_normal((40, 6)), np.arange(40) % 10]
    arrays[1][37] = 11
    source = layers.MemoryDataLayer(name="data", batch_size=8, data=constant(arrays), tops=["data", "label"])
    with mocha.System(NativeBackend(threads=threads), seed=2) as system:
        net = mocha.Net("net", system, [source, *perceptron()])
        solver = solvers.SGD(parameters(20))
        with pytest.raises(DataError, match="label 11 in row 5"):
            solver.solve(net)
        assert solver.state.iteration == 4
        assert not net.runs.half_updated


@pytest.mark.parametrize("threads", THREADS)
def test_what_is_not_finite_ends_the_run(isa, threads):
    """The gradients are finite, and times the learning rate they are not."""
    loss = layers.SoftmaxLossLayer(name="loss", weight=1e10, bottoms=["y", "label"])
    system, net, solver = opened(threads, *perceptron()[:-1], loss, max_iter=1000)
    with system:
        solver.parameters = mocha.SolverParameters(max_iter=1000, lr_policy=1e35)
        with pytest.raises(NonFiniteError, match=r"the update of parameter '\w.\w+' is not finite in iteration 0"):
            solver.solve(net)
        assert all(np.isfinite(p.numpy()).all() for group in net.parameters.values() for p in group.values())


class Cross(Op):
    """As its input, until it counts to three."""

    name = "test.cross"
    backward_reads = ()

    def infer(self, x):
        return (x,)

    def forward(self, xp, x):
        return x

    def backward(self, xp, dy, x, y, wanted):
        return (dy[0],)


class CrossKernel(Kernel):
    calls = 0

    def forward(self, ins, outs, add):
        def run():
            CrossKernel.calls += 1
            if CrossKernel.calls == 3:
                raise RuntimeError("crossed")
            outs[0][...] = ins[0]

        return run

    def backward(self, ins, outs, add):
        def run():
            outs[0][...] = ins[0]

        return run


class CrossLayer(ComputationLayer):
    def build(self, b, x):
        return b.call(Cross(), x)


class Plugin:
    @hookimpl
    def mocha_register_kernels(self, kernels):
        kernels.add("test.cross", "native", lambda backend, call: CrossKernel())


@pytest.fixture(scope="module")
def registered():
    plugin_manager().register(Plugin())


@pytest.fixture
def crossed(registered):
    CrossKernel.calls = 0


@pytest.mark.parametrize("threads", THREADS)
def test_an_exception_in_a_step_in_python(crossed, threads):
    body = [CrossLayer(bottoms=["y"], tops=["z"]), layers.SoftmaxLossLayer(name="loss", bottoms=["z", "label"])]
    head = layers.InnerProductLayer(name="y", output_dim=10, bottoms=["data"], tops=["y"])
    system, net, solver = opened(threads, head, *body)
    with system:
        program = net.runs.training_program(solver)
        with pytest.raises(RuntimeError, match="crossed"):
            net.runs.train(program, 5, 0, solver.schedule(0, 5))
        assert program.done == 2
        assert not program.half_updated
        net.runs.train(program, 5, 2, solver.schedule(2, 5))
        assert program.done == 5


class Raising(solvers.SGD.update_op):
    name = "test.raising"

    def rule(self, xp, w, g, velocity, learning_rate, momentum):
        raise RuntimeError("raised")


class RaisingSolver(solvers.SGD):
    """The first parameters' updates are in C, the last one's in Python."""

    update_op = solvers.SGD.update_op

    def update(self, b, parameter, gradient):
        if parameter.name != "bias" or parameter.layer != "y":
            super().update(b, parameter, gradient)
            return
        type(self).update_op = Raising
        try:
            super().update(b, parameter, gradient)
        finally:
            type(self).update_op = solvers.SGD.update_op


@pytest.mark.parametrize("threads", THREADS)
def test_an_exception_between_updates_leaves_the_net_half_updated(threads):
    system, net, _ = opened(threads)
    solver = RaisingSolver(parameters(3))
    with system:
        with pytest.raises(RuntimeError, match="raised"):
            solver.solve(net)
        assert net.runs.half_updated
        assert solver.state.iteration == 0


def test_a_schedule_that_is_too_short():
    system, net, solver = opened(1)
    with system:
        program = net.runs.training_program(solver)
        with pytest.raises(ConfigurationError, match=r"expected 5 values of shape \(\) for the cell 'learning_rate'"):
            program.iterate(5, {"learning_rate": np.ones(3)})


def test_weights_that_are_packed_in_the_middle_of_a_run_are_packed_again_after_it():
    """Another net of the layers predicts in a thread of its own while the second iteration waits for its rows."""
    body = lenet()
    images = np.random.default_rng(1).standard_normal((40, 1, 12, 12))
    expected = []

    class Between(layers.MemoryDataLayer):
        def open(self, seed):
            source = super().open(seed)
            fetch, calls = source.fetch, []

            def fetching(rows, epoch, out):
                calls.append(epoch)
                if len(calls) == 2:
                    thread = threading.Thread(target=lambda: other.predict(images, "y"))
                    thread.start()
                    thread.join()
                fetch(rows, epoch, out)

            source.fetch = fetching
            return source

    for backend in (NativeBackend(threads=1), "cpu"):
        with mocha.System(backend, seed=2) as system:
            rows = [images, np.arange(40) % 10]
            other = mocha.Net("other", system, [data(batch=40), *body[:-1]])
            other.predict(images, "y")
            net = mocha.Net("net", system, [Between(name="data", batch_size=8, data=rows), *body])
            solvers.SGD(parameters(5)).solve(net)
            expected.append(other.predict(images, "y"))
            assert backend == "cpu" or other.program("y").runs(Section.PACK)
    np.testing.assert_allclose(*expected, rtol=1e-4, atol=1e-5)


class Disordered(Source):
    """Its order names a row that it does not have."""

    rows = 20
    prefetch = False

    def __init__(self):
        from mocha_core.graph.value import Spec

        self.specs = (Spec((4,), "float64"), Spec((), "float64"))

    def fetch(self, rows, epoch, out):
        for array in out:
            array[...] = 0

    def order(self, epoch):
        return np.arange(20) + 1


class DisorderedLayer(layers.MemoryDataLayer):
    def open(self, *a, **k):
        return Disordered()


def test_an_order_with_rows_that_are_not_there():
    with mocha.System(NativeBackend(threads=1)) as system:
        source = DisorderedLayer(
            name="data", batch_size=4, data=[np.zeros((20, 4)), np.zeros(20)], tops=["data", "label"]
        )
        net = mocha.Net("net", system, [source, *perceptron()])
        with pytest.raises(DataError, match="order of a source with 20 rows"):
            solvers.SGD(parameters(20)).solve(net)


def test_sections_run_alone():
    with mocha.System("cpu", seed=2) as cpu, mocha.System(NativeBackend(threads=3), seed=2) as native:
        found = []
        for system in (cpu, native):
            net = mocha.Net("net", system, [data(), *perceptron()])
            objective = net.forward()
            net.backward()
            found.append([objective, *gradients(net).values()])
        for a, b in zip(*found, strict=True):
            np.testing.assert_allclose(a, b, rtol=2e-4, atol=1e-6)


def test_a_profile_of_a_net_names_every_kernel():
    with mocha.System("native", threads=2) as system:
        net = mocha.Net("net", system, [data(), *perceptron()])
        solver = solvers.SGD(parameters())
        before = net.states.copy()
        for rows in (net.profile(3, solver), net.profile(3)):
            assert {"h", "y", "loss"} <= {row.layer for row in rows}
            assert any("forward" in row.kernel for row in rows)
            assert all(row.seconds > 0 for row in rows)
        for key, array in net.states.copy().items():
            np.testing.assert_array_equal(array, before[key])


def test_profile_names_every_kernel_and_trains():
    with mocha.System("native", threads=2) as system:
        net = mocha.Net("net", system, [data(), *perceptron()])
        solver = solvers.SGD(parameters())
        program = net.runs.training_program(solver)
        before = net.parameters["y"]["weight"].numpy()
        rows = program.profile(3, solver.schedule(0, 3))
        assert all(row.seconds > 0 for row in rows if row.kernel != "Python")
        found = {row[:3] for row in rows}
        assert {("h", "then_relu", Section.FORWARD), ("h", "native.updating_backward", Section.BACKWARD)} <= found
        assert (net.parameters["y"]["weight"].numpy() != before).any()


@pytest.mark.parametrize("limits", [{"clip_norm": 0.1}, {"clip_value": 0.01}])
def test_clipping_stays_in_c_and_is_the_same_for_any_number_of_threads(limits):
    found = []
    for threads in (1, 2, 3):
        with mocha.System(NativeBackend(threads=threads), seed=2) as system:
            net = mocha.Net("net", system, [data(), *perceptron()])
            solver = solvers.SGD(parameters(9, **limits))
            solver.solve(net)
            program = net.runs.training_program(solver)
            assert all(isinstance(bound.run, Compiled) for bound in program.bound)
            found.append({key: state.numpy() for key, state in net.states.items()})
    assert_same(*found[:2])
    assert_same(*found[1:])
