"""A number that is not finite, put anywhere into a random net of the standard layers, is found where it was put."""

import random
import re

import numpy as np
import pytest

import mocha_core as mocha
from mocha_core import coffee, layers, neurons, solvers
from mocha_core.describe.layer import ComputationLayer
from mocha_core.errors import NonFiniteError
from mocha_core.graph.op import Op
from mocha_core.testing.backends import open_any
from mocha_core.train.coffee_break import CoffeeBreak

BATCH, ROWS, LAST = 4, 60, 12


class Spoil(Op):
    """Passes on what it gets; in one iteration, in one half, something not finite."""

    name = "soak.spoil"
    backward_reads = ("x1",)
    differentiable = (0,)
    at: int
    half: str
    number: float

    def infer(self, x, iteration):
        return (x,)

    def forward(self, xp, x, iteration):
        return xp.full_like(x, self.number) if self.half == "forward" and iteration == self.at else 1 * x

    def backward(self, xp, dy, x, y, wanted):
        spoilt = self.half == "backward" and x[1] == self.at
        return xp.full_like(dy[0], self.number) if spoilt else 1 * dy[0], None


class SpoilLayer(ComputationLayer):
    at: int = 0
    half: str = ""
    number: float = 0.0

    def build(self, b, x):
        return b.call(Spoil(self.at, self.half, self.number), x, b.cell("iteration"))


class Sets(CoffeeBreak):
    """Puts a number somewhere into a parameter."""

    def __init__(self, at, parameter, number, place):
        self.at, self.parameter, self.number, self.place = at, parameter, number, place

    def enjoy(self, solver, net):
        if solver.state.iteration == self.at:
            array = self.parameter.numpy()
            array.flat[self.place % array.size] = self.number
            self.parameter.set(array)


def step(choose, i, bottom, **spoil):
    """A layer on an image of 2 channels, 8 x 8, that leaves it one; or several layers, or with `spoil` such a one."""
    top, neuron = f"b{i}", choose.choice([neurons.ReLU(), neurons.LReLU(), neurons.Identity()])
    ends = {"bottoms": [bottom], "tops": [top]}
    if spoil:
        return [SpoilLayer(name=f"layer{i}", **spoil, **ends)]
    window = {"kernel": (3, 3), "pad": (1, 1)}
    kinds = [
        lambda: [layers.ConvolutionLayer(name=f"layer{i}", n_filter=2, neuron=neuron, **window, **ends)],
        lambda: [layers.ConvolutionLayer(name=f"layer{i}", n_filter=2, n_group=2, neuron=neuron, **window, **ends)],
        lambda: [layers.PoolingLayer(name=f"layer{i}", pooling=choose.choice([*layers.Pooling]), **window, **ends)],
        lambda: [layers.LRNLayer(name=f"layer{i}", kernel=3, mode=choose.choice([*layers.LRNMode]), **ends)],
        lambda: [layers.PowerLayer(name=f"layer{i}", scale=0.5, shift=0.1, **ends)],
        lambda: [layers.DropoutLayer(name=f"layer{i}", ratio=0.25, **ends)],
        lambda: [
            layers.SplitLayer(name=f"layer{i}", bottoms=[bottom], tops=[f"left{i}", f"right{i}"]),
            layers.ElementWiseLayer(name=f"join{i}", bottoms=[f"left{i}", f"right{i}"], tops=[top]),
        ],
    ]
    return choose.choice(kinds)()


def random_net(choose, spoil):
    """Layers between data and losses; `spoil` is inserted somewhere, after a layer that learns."""
    n = choose.randint(2, 5)
    first = layers.ConvolutionLayer(
        name="first", n_filter=2, kernel=(3, 3), pad=(1, 1), bottoms=["data"], tops=["b0"], neuron=neurons.ReLU()
    )
    body, where = [first], choose.randint(1, n) if spoil else 0
    for i in range(1, n + 1):
        body += step(choose, i, f"b{i - 1}", **(spoil if i == where else {}))
    body.append(layers.InnerProductLayer(name="scores", output_dim=3, bottoms=[f"b{n}"], tops=["scores"]))
    losses = [layers.SoftmaxLossLayer(name="loss", bottoms=["scores", "label"])]
    if choose.random() < 0.5:
        body.append(layers.InnerProductLayer(name="side", output_dim=3, bottoms=["b0"], tops=["side"]))
        losses.append(layers.SquareLossLayer(name="side-loss", weight=0.1, bottoms=["side", "target"]))
    return [*body, *losses], f"layer{where}"


def run(number, folder):
    choose, rng = random.Random(number), np.random.default_rng(number)
    kind = choose.choice(["parameter", "data", "forward", "backward"])
    value, at = choose.choice([float("nan"), float("inf")]), choose.randrange(LAST)
    accumulate, every = choose.choice([1, 1, 2]), choose.choice([1, 2, 3])
    arrays = [rng.standard_normal((ROWS, 2, 8, 8)), rng.integers(0, 3, ROWS), rng.standard_normal((ROWS, 3))]
    if kind == "data":
        row = choose.randrange(ROWS)
        arrays[0][row].flat[choose.randrange(128)] = value
        at = row // (BATCH * accumulate)
    spoil = {"at": at, "half": kind, "number": value} if kind in ("forward", "backward") else {}
    body, spoilt = random_net(choose, spoil)
    data = layers.MemoryDataLayer(name="data", data=arrays, tops=["data", "label", "target"], batch_size=BATCH)
    with mocha.System(open_any(choose.choice(["cpu", "cpu", "reference"])), seed=number) as system:
        net = mocha.Net("soak", system, [data, *body])
        solver = solvers.SGD(mocha.SolverParameters(max_iter=ROWS, lr_policy=0.01, accumulate=accumulate))
        breaks = [(coffee.Snapshot(folder), every)]
        if kind == "parameter":
            parameter = choose.choice([p for group in net.parameters.values() for p in group.values()])
            spoilt = parameter.layer
            breaks.insert(choose.randrange(2), (Sets(at, parameter, value, choose.randrange(1000)), 1))
        for break_, interval in breaks:
            solver.add_coffee_break(break_, every_n_iter=interval)
        with pytest.raises(NonFiniteError) as caught:
            solver.solve(net)
        message, done = str(caught.value), solver.state.iteration
    expected = "data" if kind == "data" else spoilt
    named = re.search(r"Layer '(.+?)'|'(.+?)___", message)
    assert named is not None, message
    assert (done, named[1] or named[2]) == (at, expected), f"{kind} at {at} in '{expected}': {message}"
    saved_first = kind == "parameter" and isinstance(breaks[0][0], coffee.Snapshot)
    last = at if at % every == 0 and (kind != "parameter" or saved_first) else (at - 1) // every * every
    saved = sorted(folder.glob("snapshot-*.hdf5"))
    assert [path.name for path in saved[-1:]] == ([f"snapshot-{last:06d}.hdf5"] if last > 0 else [])
    if last > 0:
        with mocha.System("cpu", seed=number) as system:
            net = mocha.Net("again", system, [data, *body])
            solver = solvers.SGD(mocha.SolverParameters(max_iter=last, accumulate=accumulate))
            solver.add_coffee_break(coffee.Snapshot(folder), every_n_iter=every)
            solver.solve(net)
            assert solver.state.iteration == last
            assert all(np.isfinite(state.numpy()).all() for state in net.states.values())


@pytest.mark.filterwarnings("error")
def test_numbers_that_are_not_finite(trials, report, tmp_path):
    n = trials(200)
    for number in range(n):
        try:
            run(number, tmp_path / str(number))
        except Exception as error:
            raise AssertionError(f"trial {number}: {error}") from error
    report("NaN or infinity in a random layer and iteration", n, f"stopped in that iteration, layer named {n} of {n}")
