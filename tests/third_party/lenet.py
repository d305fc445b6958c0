"""LeNet on the embedded digits, for the tests of this folder and for the processes that they start."""

import numpy as np

import mocha_core as mocha
from mocha_core import layers, neurons, solvers
from mocha_core.api import CoffeeBreak


class Objectives(CoffeeBreak):
    """Keeps the objective of every iteration."""

    def __init__(self):
        self.seen = []

    def enjoy(self, solver, net):
        self.seen.append(solver.state.objective)


def lenet(system, folder, batch_size=32, before_loss=()):
    """The training net; `before_loss` are layers from blob "ip2" to blob "scores"."""
    scores = before_loss[-1].tops[0] if before_loss else "ip2"
    return mocha.Net("LeNet", system, [
        layers.HDF5DataLayer(name="train-data", source=folder / "train.txt", batch_size=batch_size),
        layers.ConvolutionLayer(name="conv1", n_filter=20, kernel=(5, 5), bottoms=["data"], tops=["conv1"]),
        layers.PoolingLayer(name="pool1", kernel=(2, 2), stride=(2, 2), bottoms=["conv1"], tops=["pool1"]),
        layers.ConvolutionLayer(name="conv2", n_filter=50, kernel=(5, 5), bottoms=["pool1"], tops=["conv2"]),
        layers.PoolingLayer(name="pool2", kernel=(2, 2), stride=(2, 2), bottoms=["conv2"], tops=["pool2"]),
        layers.InnerProductLayer(
            name="ip1", output_dim=500, neuron=neurons.ReLU(), bottoms=["pool2"], tops=["ip1"]
        ),
        layers.InnerProductLayer(name="ip2", output_dim=10, bottoms=["ip1"], tops=["ip2"]),
        *before_loss,
        layers.SoftmaxLossLayer(name="loss", bottoms=[scores, "label"]),
    ])  # fmt: skip


def train(net, n, solver=None, breaks=()):
    """Train for n iterations; returns the objectives and the parameters."""
    parameters = mocha.SolverParameters(max_iter=n, lr_policy=0.01, momentum=0.9)
    solver, objectives = (solver or solvers.SGD)(parameters), Objectives()
    solver.add_coffee_break(objectives, every_n_iter=1)
    for coffee, every_n_iter in breaks:
        solver.add_coffee_break(coffee, every_n_iter=every_n_iter)
    solver.solve(net)
    return np.asarray(objectives.seen), {key: state.numpy() for key, state in net.states.items()}
