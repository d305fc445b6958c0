"""A program's memory: one plan by liveness, counted with all padding, and nothing taken while it runs."""

import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
from mocha_native.backend import NativeBackend
from nets import data, parameters, perceptron
from real_nets import NETS, open_net

import mocha_core as mocha
from mocha_core import layers, neurons, solvers
from mocha_core.graph.value import nbytes


def deep(depth=12, width=256):
    """A perceptron of equally wide layers."""
    tops = ["data", *(f"h{i}" for i in range(depth))]
    hidden = [
        layers.InnerProductLayer(name=top, output_dim=width, neuron=neurons.ReLU(), bottoms=[bottom], tops=[top])
        for bottom, top in pairwise(tops)
    ]
    last = layers.InnerProductLayer(name="y", output_dim=10, bottoms=[tops[-1]], tops=["y"])
    return [*hidden, last, layers.SoftmaxLossLayer(name="loss", bottoms=["y", "label"])]


def predicting(net, output):
    """The program that predicts, and the bytes of all it has in its memory, one after the other."""
    net.predict(np.zeros((64, *net.plan.blobs["data"].shape[1:])), output)
    program = net.runs.programs()[-1][1]
    return program, sum(nbytes(block.spec) for block in program.memory.blocks.values())


def test_inference_reuses_memory():
    with mocha.System(NativeBackend(threads=1)) as system:
        net = mocha.Net("deep", system, [data(batch=64), *deep()])
        program, everything = predicting(net, "y")
        assert program.memory.total < 0.3 * everything
        training = net.runs.training_program(solvers.SGD(parameters(1)))
        assert training.memory.total > 2 * program.memory.total


@pytest.mark.parametrize("name", NETS)
def test_inference_of_convolutions_reuses_memory(name):
    with mocha.System(NativeBackend(threads=1)) as system:
        net, _ = open_net(system, name, 64)
        program, everything = predicting(net, NETS[name][2])
        assert program.memory.total < 0.75 * everything


@pytest.mark.parametrize("name", NETS)
def test_the_summary_shows_what_programs_take(name):
    with mocha.System(NativeBackend(threads=2)) as system:
        net, solver_for = open_net(system, name, 17)
        solver = solver_for(1)
        programs = [net.program(), net.runs.training_program(solver)]
        for program in programs:
            assert f"{program.memory.total:,} bytes" in net.summary()


@pytest.mark.parametrize("name", NETS)
def test_padding_is_counted(isa, name):
    """A batch of 17 fills a second block of 16 lanes with one image only."""
    with mocha.System(NativeBackend(threads=1)) as system:
        net, solver_for = open_net(system, name, 17)
        program = net.runs.training_program(solver_for(1))
        for value, block in program.memory.blocks.items():
            buffer = program.memory.buffers[value]
            assert block.spec == program.arrangement.home(value).physical(value.spec)
            assert buffer.nbytes == nbytes(block.spec)
            assert buffer.ctypes.data % 64 == 0
        assert program.memory.total >= max(nbytes(block.spec) for block in program.memory.blocks.values())


def test_a_program_that_runs_takes_no_memory():
    """What Python takes for a call does not grow with its iterations, but for the objectives and the schedule."""

    def taken(n):
        schedule = solver.schedule(0, n)
        tracemalloc.reset_peak()
        before, _ = tracemalloc.get_traced_memory()
        program.iterate(n, schedule)
        _, peak = tracemalloc.get_traced_memory()
        return peak - before

    with mocha.System(NativeBackend(threads=1)) as system:
        net = mocha.Net("net", system, [data(), *perceptron()])
        solver = solvers.SGD(parameters(1))
        program = net.runs.training_program(solver)
        tracemalloc.start()
        try:
            taken(10)
            few, many = taken(10), taken(300)
        finally:
            tracemalloc.stop()
        columns = sum(np.asarray(c[:1]).nbytes for name, c in solver.schedule(0, 1).items() if name in program.cells)
        assert many - few <= 290 * (8 + 8 * columns) + 20_000
