"""Building and compiling take work in proportion to the number of layers, counted in calls of functions."""

import sys

import numpy as np
import pytest
from toys.blocked import Blocked
from toys.inner_product import InnerProductLayer
from toys.memory import MemoryLayer
from toys.observe import parameters
from toys.plugin import Folding
from toys.relu import ReluNeuron
from toys.sgd import SGD
from toys.square_loss import SquareLossLayer

import mocha_core as mocha


def dense(bottom, top):
    return InnerProductLayer(name=top, output_dim=2, neuron=ReluNeuron(), bottoms=[bottom], tops=[top])


def deep(n):
    return [*(dense(f"x{i}", f"x{i + 1}") for i in range(n)), SquareLossLayer(name="loss", bottoms=[f"x{n}", "y"])]


def deep_from_the_end(n):
    return deep(n)[::-1]


def wide(n):
    losses = [SquareLossLayer(name=f"loss {i}", bottoms=[f"h{i}", "y"]) for i in range(n)]
    return [*(dense("x0", f"h{i}") for i in range(n)), *losses]


def work(layers):
    """The calls of Python and C functions until one iteration and one prediction are done."""
    rows = np.ones((4, 2))
    data = MemoryLayer(name="data", batch_size=4, arrays=(rows, rows), tops=("x0", "y"))
    calls = 0

    def count(frame, event, argument):
        nonlocal calls
        calls += event in ("call", "c_call")

    with mocha.System(Blocked(), dtype="float64", seed=3) as system:
        former = sys.getprofile()
        sys.setprofile(count)
        try:
            net = mocha.Net("net", system, [data, *layers])
            solver = SGD(parameters(max_iter=1))
            solver.solve(net)
            net.predict(rows, layers[0].tops[0] if layers[0].tops else layers[-1].tops[0])
        finally:
            sys.setprofile(former)
        fused = [use for use in net.runs.training_program(solver).kernels() if "sgd" in use.op and "+" in use.op]
        assert len(fused) >= len(layers) / 3
    return calls


@pytest.mark.parametrize("layers", [deep, deep_from_the_end, wide])
def test_twice_the_layers_take_twice_the_work(layers, register):
    register(Folding(), "mocha-folding")
    work(layers(3))  # imports
    assert work(layers(80)) < 2.3 * work(layers(40))
