"""Programs as graphs, on the host: schedules, objectives, faults, stops, and steps in Python between graphs."""

import numpy as np
import pytest
from host_backend import HostBackend
from host_device import HostDevice
from mocha_cuda import program as cuda_program
from mocha_cuda.tape import UNROLLED, Run, Tape

import mocha_core as mocha
from mocha_core import hookimpl, layers, neurons, solvers
from mocha_core.compile.kernel import Reference
from mocha_core.describe.layer import Layer
from mocha_core.describe.source import Source
from mocha_core.errors import ConfigurationError, DataError, NonFiniteError
from mocha_core.graph.op import Op
from mocha_core.graph.value import Spec
from mocha_core.testing.inputs import constant


def perceptron():
    return [
        layers.InnerProductLayer(name="h", output_dim=7, neuron=neurons.ReLU(), bottoms=["data"], tops=["h"]),
        layers.DropoutLayer(name="drop", ratio=0.3, bottoms=["h"], tops=["d"]),
        layers.InnerProductLayer(name="y", output_dim=10, bottoms=["d"], tops=["y"]),
        layers.SoftmaxLossLayer(name="loss", bottoms=["y", "label"]),
    ]


def arrays(rows=40):
    rng = np.random.default_rng(1)
    return [rng.standard_normal((rows, 6)), rng.integers(0, 10, rows)]


class Failing(Source):
    """Its disk is gone at the fifth minibatch."""

    prefetch = False
    specs = (Spec((6,), "float64"), Spec((), "float64"))
    rows, fetched = 40, 0

    def fetch(self, rows, epoch, out):
        self.fetched += 1
        if self.fetched == 5:
            raise OSError("the disk is gone")
        for array, given in zip(out, arrays(), strict=True):
            array[...] = given[rows]


class FailingLayer(layers.MemoryDataLayer):
    def open(self, *_, **__):
        return Failing()


@pytest.fixture(params=["resident", "streamed"])
def backend(request):
    made = HostBackend()
    if request.param == "streamed":
        made.resident_bytes = 0
    return made


def opened(backend, given=None, kind=layers.MemoryDataLayer, **more):
    system = mocha.System(backend, seed=2)
    source = kind(name="data", batch_size=8, data=constant(given or arrays()), tops=["data", "label"])
    net = mocha.Net("net", system, [source, *perceptron()])
    return system, net, solvers.SGD(mocha.SolverParameters(**{"lr_policy": 0.05, "max_iter": 50, **more}))


def trained(backend, **more):
    system, net, solver = opened(backend, **more)
    with system:
        solver.solve(net)
        return net.runs.training_program(solver).objectives, [
            p.numpy() for group in net.parameters.values() for p in group.values()
        ]


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("iterations", [1, 7, 3 * UNROLLED + 5])
def test_training_is_as_on_the_cpu(backend, accumulate, iterations):
    more = {"max_iter": iterations, "accumulate": accumulate, "momentum": 0.9}
    objectives, parameters = trained(backend, **more)
    expected_objectives, expected = trained("cpu", **more)
    np.testing.assert_allclose(objectives, expected_objectives, rtol=1e-4)
    for ours, theirs in zip(parameters, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


def test_more_minibatches_than_the_tables_hold(backend, monkeypatch):
    monkeypatch.setattr(cuda_program, "MOST", 4)
    objectives, _ = trained(backend, max_iter=30)
    np.testing.assert_allclose(objectives, trained("cpu", max_iter=30)[0], rtol=1e-4)


@pytest.mark.parametrize("fuse", [True, False])
def test_what_several_data_layers_hold_is_gathered_as_a_minibatch_begins(fuse):
    """Labels become class indices on the way."""
    rng = np.random.default_rng(3)
    data = {"left": rng.standard_normal((40, 6)), "right": rng.standard_normal((40, 6)), "label": arrays()[1]}

    def objectives(backend):
        body = [
            layers.MemoryDataLayer(name=f"of {top}", batch_size=8, data=constant([data[top]]), tops=[top])
            for top in data
        ]
        body.append(layers.ElementWiseLayer(name="sum", bottoms=["left", "right"], tops=["data"]))
        with mocha.System(backend, seed=2) as system:
            net = mocha.Net("net", system, [*body, *perceptron()])
            solver = solvers.SGD(mocha.SolverParameters(lr_policy=0.05, max_iter=9))
            solver.solve(net)
            return net.runs.training_program(solver).objectives

    made, launched = HostBackend(fuse=fuse), []

    def launch(kernel, *more, launcher=made.device.launch):
        launched.append(kernel.name)
        launcher(kernel, *more)

    made.device.launch = launch
    np.testing.assert_allclose(objectives(made), objectives("cpu"), rtol=1e-4)
    assert "begin_minibatch" in launched
    assert "gather_forward" not in launched
    assert ("labels_forward" in launched) != fuse


@pytest.mark.parametrize("order", ["reversed", "shuffled"])
def test_what_nobody_reads_shares_its_memory_with_what_comes_next(order, monkeypatch):
    """So they are not gathered at once: blocks of one launch come in any order."""
    monkeypatch.setenv("MOCHA_CUDA_BLOCK_ORDER", order)
    data, labels = arrays()

    def objectives(backend):
        given = {"data": constant([np.zeros((40, 6)), data, labels]), "tops": ["unread", "data", "label"]}
        with mocha.System(backend, seed=2) as system:
            source = layers.MemoryDataLayer(name="source", batch_size=8, **given)
            net = mocha.Net("net", system, [source, *perceptron()])
            solver = solvers.SGD(mocha.SolverParameters(lr_policy=0.05, max_iter=9))
            solver.solve(net)
            return net.runs.training_program(solver).objectives

    np.testing.assert_allclose(objectives(HostBackend()), objectives("cpu"), rtol=1e-4)


def test_nets_without_a_loss(backend):
    """Their programs may have neither cells nor rows to begin with, and have no objective."""
    data = arrays()[0]
    with mocha.System(backend, seed=2) as system:
        source = layers.MemoryDataLayer(name="source", batch_size=8, data=constant([data]), tops=["data"])
        y = layers.InnerProductLayer(name="y", output_dim=3, bottoms=["data"], tops=["y"])
        net = mocha.Net("net", system, [source, y])
        assert np.isnan(net.forward_epoch())
        weight, bias = (parameter.numpy() for parameter in net.parameters["y"].values())
        np.testing.assert_allclose(net.predict(data, "y"), data @ weight.T + bias, rtol=1e-4, atol=1e-5)


class MeanInDouble(Op):
    name = "test.mean_in_double"
    backward_reads = ()

    def infer(self, x):
        return (Spec((), "float64"),)

    def forward(self, xp, x):
        return xp.mean(xp.astype(x, xp.float64))

    def backward(self, xp, dy, x, y, wanted):
        return (xp.broadcast_to(xp.astype(dy[0], xp.float32) / 80, (8, 10)),)


class MeanInDoubleLayer(Layer):
    def build(self, b, x):
        b.loss(*b.call(MeanInDouble(), x))
        return ()


def test_an_objective_in_double_in_a_net_of_floats(backend):
    def objectives(backend):
        with mocha.System(backend, seed=2) as system:
            source = layers.MemoryDataLayer(name="source", batch_size=8, data=constant([arrays()[0]]), tops=["data"])
            loss = MeanInDoubleLayer(name="loss", bottoms=["y"])
            net = mocha.Net("net", system, [source, *perceptron()[:3], loss])
            solver = solvers.SGD(mocha.SolverParameters(lr_policy=0.05, max_iter=9))
            solver.solve(net)
            return net.runs.training_program(solver).objectives

    np.testing.assert_allclose(objectives(backend), objectives("cpu"), rtol=1e-4)


@pytest.mark.parametrize("seconds", [0, 1000])
def test_results_do_not_depend_on_how_often_the_host_looks(backend, monkeypatch, seconds):
    monkeypatch.setattr(cuda_program, "SECONDS", seconds)
    objectives, _ = trained(backend, max_iter=40)
    np.testing.assert_allclose(objectives, trained("cpu", max_iter=40)[0], rtol=1e-4)


def test_a_wrong_label_is_named_and_nothing_was_updated_by_it(backend):
    """The host looks only later: what is on the device then is still the minibatch that had it."""
    given = arrays()
    given[1][29] = 11
    system, net, solver = opened(backend, given, max_iter=60)
    with system:
        program = net.runs.training_program(solver)
        program._chunk = 32
        with pytest.raises(DataError, match="label 11 in row 5"):
            solver.solve(net)
        assert solver.state.iteration == 3
        assert program.done == 3
        assert not net.runs.half_updated
        found = [p.numpy() for group in net.parameters.values() for p in group.values()]
    _, expected = trained("cpu", max_iter=3)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("accumulate", [1, 3])
def test_what_is_not_finite_ends_the_run(backend, accumulate):
    system, net, solver = opened(backend, max_iter=100, accumulate=accumulate, lr_policy=1e35)
    with system:
        net.runs.training_program(solver)._chunk = 32
        with pytest.raises(NonFiniteError):
            solver.solve(net)
        assert all(np.isfinite(p.numpy()).all() for group in net.parameters.values() for p in group.values())


def test_stop_ends_what_the_device_has_in_hand(backend):
    system, net, solver = opened(backend, max_iter=50)
    with system:
        program = net.runs.training_program(solver)
        net.runs.train(program, 50, 0, solver.schedule(0, 50), np.ones(1, np.int32))
        assert program.done == 1
        net.runs.train(program, 49, 1, solver.schedule(1, 49), np.zeros(1, np.int32))
        assert program.done == 49


def test_a_schedule_that_is_too_short(backend):
    system, net, solver = opened(backend)
    with system:
        program = net.runs.training_program(solver)
        with pytest.raises(ConfigurationError, match=r"expected 5 values of shape \(\) for the cell 'learning_rate'"):
            program.iterate(5, {"learning_rate": np.ones(3)})


def test_a_source_that_fails_in_the_middle_leaves_what_was_done():
    backend = HostBackend()
    backend.resident_bytes = 0
    system, net, solver = opened(backend, kind=FailingLayer)
    with system:
        program = net.runs.training_program(solver)
        program._chunk = 32
        with pytest.raises(DataError, match="the disk is gone"):
            solver.solve(net)
        assert program.done == 4
        assert not net.runs.half_updated
        assert (program.objectives[:4] > 0).all()


def test_kernels_say_which_steps_split_the_graph(backend):
    system, net, solver = opened(backend)
    with system:
        uses = net.runs.training_program(solver).kernels()
        split = {use.op for use in uses if use.kernel.endswith("(splits the graph)")}
        assert "relu" not in split
        assert ("mocha.fetch" in split) == (backend.resident_bytes == 0)


class NoDropout:
    """Leaves dropout to its reference."""

    @hookimpl
    def mocha_register_kernels(self, kernels):
        kernels.add("dropout", HostBackend.name, Reference)


def test_a_reference_splits_the_graph_and_trains_as_on_the_cpu(backend, register_plugin):
    register_plugin(NoDropout(), "no-dropout")
    objectives, _ = trained(backend, max_iter=20)
    np.testing.assert_allclose(objectives, trained("cpu", max_iter=20)[0], rtol=1e-4)
    system, net, solver = opened(backend)
    with system:
        uses = [use for use in net.runs.training_program(solver).kernels() if use.op == "dropout"]
    assert [use.kernel for use in uses] == ["reference of dropout (splits the graph)"] * 2


@pytest.mark.parametrize(("missing", "op"), [(0, "gather_labels"), (1, "mocha.fetch")])
def test_data_stay_on_the_device_if_they_fit_into_half_of_its_memory(monkeypatch, missing, op):
    in_float32 = 4 * sum(array.size for array in arrays())
    with monkeypatch.context() as patch:
        patch.setattr(HostDevice, "free_bytes", lambda self: 2 * (in_float32 - missing))
        backend = HostBackend()
    system, net, solver = opened(backend)
    with system:
        ops = {use.op for use in net.runs.training_program(solver).kernels()}
    assert {op} == ops & {"gather_labels", "mocha.fetch"}


def test_the_first_run_is_step_by_step_and_the_others_are_graphs(backend):
    calls = []
    tape = Tape(backend.device, [Run(lambda i=i: calls.append(i), captured=i != 1) for i in range(4)])
    for _ in range(3):
        tape()
    # Eagerly; recorded, and the Python step; the Python step. What is recorded here does nothing when launched.
    assert calls == [0, 1, 2, 3, 0, 2, 3, 1, 1]
    assert not tape.whole


def test_graphs_can_be_done_without(backend, monkeypatch):
    monkeypatch.setenv("MOCHA_CUDA_GRAPHS", "0")
    monkeypatch.setattr(backend.device, "record", None)
    found, expected = trained(backend, max_iter=20)[0], trained("cpu", max_iter=20)[0]
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_a_whole_tape_is_unrolled(backend):
    total = []
    tape = Tape(backend.device, [Run(lambda: backend.device.submit(lambda: total.append(1)))])
    tape(2 * UNROLLED + 4)
    assert len(total) == 2 * UNROLLED + 4
    assert tape.whole


class Interrupted:
    """A device whose graphs end with Ctrl-C when they are launched for the `last` time."""

    def __init__(self, last):
        self.launches, self.last = 0, last

    def record(self, run):
        def launch():
            self.launches += 1
            if self.launches == self.last:
                raise KeyboardInterrupt

        return launch


@pytest.mark.parametrize("times", [2, UNROLLED + 1])
@pytest.mark.parametrize("last", [1, 2])
def test_where_a_tape_is_left_between_graphs(times, last):
    """Graphs are done as a whole, or not at all: no step of the one before is in the middle."""
    tape = Tape(Interrupted(last), [Run(lambda: None)] * 3)
    for _ in range(last - 1):
        tape(times)
    with pytest.raises(KeyboardInterrupt):
        tape(times)
    assert tape.position == 0


@pytest.mark.parametrize("limits", [{"clip_norm": 0.1}, {"clip_value": 0.01}])
def test_clipping_is_part_of_the_graph(limits):
    system, net, solver = opened(HostBackend(), **limits)
    with system:
        solver.solve(net)
        program = net.runs.training_program(solver)
        assert program._tape.whole
        assert {"clip_norm", "clip_value"} & {use.op for use in program.kernels()} == {*limits}
