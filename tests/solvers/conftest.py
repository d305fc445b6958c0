"""A regression net of a few toy layers, runs with snapshots, and a reader of logs."""

import logging
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import mocha_core as mocha
from mocha_core.coffee import Snapshot, TrainingSummary
from mocha_core.describe.layer import Layer, TrainableLayer
from mocha_core.describe.parameter import Initializer
from mocha_core.graph.op import Op
from mocha_core.graph.value import Spec
from mocha_core.solvers import SGD
from mocha_core.testing.backends import ReferenceBackend
from mocha_core.testing.surrounding_layers import InputLayer
from mocha_core.train.solver import SolverParameters

sys.path.insert(0, str(Path(__file__).parent))


class Dot(Op):
    name = "toy.dot"
    backward_reads = ("x",)

    def infer(self, x, w):
        return (Spec((x.shape[0], w.shape[0]), x.dtype),)

    def forward(self, xp, x, w):
        return xp.matmul(x, w.T)

    def backward(self, xp, dy, x, y, wanted):
        return dy[0] @ x[1], dy[0].T @ x[0]


class Distance(Op):
    name = "toy.distance"
    backward_reads = ("x",)
    differentiable = (0,)

    def infer(self, x, target):
        return (Spec((), x.dtype),)

    def forward(self, xp, x, target):
        return xp.sum((x - target) ** 2) / 2 / x.shape[0]

    def backward(self, xp, dy, x, y, wanted):
        return dy[0] * (x[0] - x[1]) / x[0].shape[0], None


class Counted(Op):
    """Adds the number of valid rows whose prediction and target agree in sign."""

    name = "toy.counted"
    updates = (3,)
    differentiable = ()

    def infer(self, x, target, valid_rows, total):
        return ()

    def forward(self, xp, x, target, valid_rows, total):
        n = int(valid_rows)
        agree = (np.sign(x) == np.sign(target))[:n].all(axis=1)
        return total + np.asarray([agree.sum(), n])


class Normal(Initializer):
    def initialize(self, shape, random):
        return random.standard_normal(shape)


class Linear(TrainableLayer):
    n: int = 1
    regularizer: object = None
    constraint: object = None
    multiplier: float = 1.0

    def build(self, b, x):
        w = b.param("weight", (self.n, x.shape[1]), Normal(), self.regularizer, self.constraint, self.multiplier)
        return b.call(Dot(), x, w)


class Loss(Layer):
    def build(self, b, x, target):
        (loss,) = b.call(Distance(), x, target)
        b.loss(loss)
        return ()


class Agreement(Layer):
    def build(self, b, x, target):
        total = b.statistic("accuracy", "Accuracy", percent=True)
        b.call(Counted(), x, target, b.valid_rows(x, target), total)
        return ()


def regression(system, rows=10, batch=4, features=3, **options):
    """A net that learns a linear map, its layers, and its data."""
    random = np.random.default_rng(5)
    x, t = random.standard_normal((rows, features)), random.standard_normal((rows, 2))
    data = InputLayer(name="data", arrays=(x, t), batch_size=batch)
    layer = Linear(name="fc", n=2, bottoms=["data"], tops=["y"], **options)
    loss = Loss(name="loss", bottoms=["y", "label"])
    return SimpleNamespace(
        net=mocha.Net("train", system, [data, layer, loss]), layer=layer, data=data, x=x, t=t, batch=batch
    )


def accuracy_net(system, part):
    """A net that measures how well `part.layer` has learned the data of `part`."""
    data = InputLayer(name="test-data", arrays=(part.x, part.t), batch_size=part.batch)
    agreement = Agreement(name="test-accuracy", bottoms=["y", "label"])
    return mocha.Net("test", system, [data, part.layer, agreement])


def parameters(max_iter=10, **options):
    return SolverParameters(max_iter=max_iter, **({"lr_policy": 0.1, "momentum": 0.5} | options))


@pytest.fixture
def system():
    with mocha.System(ReferenceBackend(), dtype="float64", seed=3) as system:
        yield system


@pytest.fixture
def toy():
    return SimpleNamespace(
        NumPy=ReferenceBackend, Rows=InputLayer, regression=regression, accuracy_net=accuracy_net, parameters=parameters
    )


@pytest.fixture
def messages(caplog):
    """A function that returns the log lines so far, and forgets them."""
    caplog.set_level(logging.INFO, logger="mocha")

    def take():
        lines = [record.getMessage() for record in caplog.records]
        caplog.clear()
        return lines

    return take


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "runs" / "snapshots"


@pytest.fixture
def train(toy, folder):
    """A function that trains a new net with snapshots, and returns its weights and its solver."""

    def train(max_iter, every=2, solver=None, seed=3, kind=Snapshot, **options):
        with mocha.System(toy.NumPy(), dtype="float64", seed=seed) as system:
            part = toy.regression(system)
            solver = (solver or SGD)(toy.parameters(max_iter))
            solver.add_coffee_break(TrainingSummary(), every_n_iter=1)
            solver.add_coffee_break(kind(folder, **options), every_n_iter=every)
            solver.solve(part.net)
            return part.net.parameters["fc"]["weight"].numpy(), solver

    return train
