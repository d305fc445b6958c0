"""The nets that people train, on the digits inside mocha-datasets; smaller minibatches than theirs keep tests cheap."""

import runpy
from functools import cache
from pathlib import Path

import numpy as np
from mocha_datasets.idx import read_idx
from mocha_datasets.mnist import EMBEDDED

import mocha_core as mocha
from mocha_core import layers, neurons, solvers
from mocha_core.testing.inputs import constant

CIFAR = Path(__file__).parents[2] / "examples" / "cifar10"
LABELS = "t10k-labels-idx1-ubyte.gz"
IMAGES = "t10k-images-idx3-ubyte.gz"


@cache
def digits():
    """The 1,000 digits of the test set, from 0 to 1."""
    return read_idx(EMBEDDED / IMAGES, (28, 28))[:, None].astype(np.float32) / 256


@cache
def coloured_digits():
    """The same in the size of CIFAR-10's images, with a colour that differs from digit to digit; the mean is 0."""
    records = runpy.run_path(str(CIFAR / "fashion_as_cifar.py"))["records"]
    pixels = records(read_idx(EMBEDDED / IMAGES, (28, 28)), labels())[:, 1:].reshape(-1, 3, 32, 32)
    colours = np.random.default_rng(4).uniform(0.3, 1, (len(pixels), 3, 1, 1))
    images = (pixels * colours).astype(np.float32)
    return images - images.mean(0)


@cache
def labels():
    return read_idx(EMBEDDED / LABELS, ())


def lenet_body():
    return [
        layers.ConvolutionLayer(name="conv1", n_filter=20, kernel=(5, 5), bottoms=["data"], tops=["conv1"]),
        layers.PoolingLayer(name="pool1", kernel=(2, 2), stride=(2, 2), bottoms=["conv1"], tops=["pool1"]),
        layers.ConvolutionLayer(name="conv2", n_filter=50, kernel=(5, 5), bottoms=["pool1"], tops=["conv2"]),
        layers.PoolingLayer(name="pool2", kernel=(2, 2), stride=(2, 2), bottoms=["conv2"], tops=["pool2"]),
        layers.InnerProductLayer(name="ip1", output_dim=500, neuron=neurons.ReLU(), bottoms=["pool2"], tops=["ip1"]),
        layers.InnerProductLayer(name="ip2", output_dim=10, bottoms=["ip1"], tops=["ip2"]),
    ]


def cifar10_body():
    return runpy.run_path(str(CIFAR / "train.py"))["hidden_layers"]()


#: Images, layers, the blob of scores, and the solver's parameters.
NETS = {
    "lenet": (digits, lenet_body, "ip2", {"regu_coef": 0.0005, "lr_policy": 0.01}),
    "cifar10": (coloured_digits, cifar10_body, "ip1", {"regu_coef": 0.004, "lr_policy": 0.001}),
}


def open_net(system, name, batch):
    """The net, ready to be trained, and a solver for it."""
    images, body, scores, rule = NETS[name]
    data = layers.MemoryDataLayer(
        name="data", batch_size=batch, data=constant([images(), labels()]), tops=["data", "label"]
    )
    loss = layers.SoftmaxLossLayer(name="loss", bottoms=[scores, "label"])
    net = mocha.Net(name, system, [data, *body(), loss])
    return net, lambda iterations: solvers.SGD(mocha.SolverParameters(max_iter=iterations, momentum=0.9, **rule))


def trained(backend, name, batch, iterations, **options):
    """The objective of each iteration, and the parameters after the last."""
    with mocha.System(backend, seed=5, **options) as system:
        net, solver_for = open_net(system, name, batch)
        solver = solver_for(iterations)
        solver.solve(net)
        parameters = {f"{layer}.{p}": v.numpy() for layer, group in net.parameters.items() for p, v in group.items()}
        return net.runs.training_program(solver).objectives, parameters
