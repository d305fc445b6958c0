"""Small nets, and what is left of them after training."""

import numpy as np

import mocha_core as mocha
from mocha_core import layers, neurons, solvers
from mocha_core.testing.inputs import constant


def data(batch=16, rows=None, source=None, shape=(1, 12, 12)):
    rng = np.random.default_rng(1)
    rows = rows or max(40, batch)
    arrays = [rng.standard_normal((rows, *shape)), rng.integers(0, 10, rows)]
    return layers.MemoryDataLayer(name="data", batch_size=batch, data=constant(arrays), tops=["data", "label"])


def perceptron():
    return [
        layers.InnerProductLayer(name="h", output_dim=37, neuron=neurons.ReLU(), bottoms=["data"], tops=["h"]),
        layers.DropoutLayer(name="drop", ratio=0.3, bottoms=["h"], tops=["d"]),
        layers.InnerProductLayer(name="g", output_dim=21, neuron=neurons.Tanh(), bottoms=["d"], tops=["g"]),
        layers.InnerProductLayer(name="y", output_dim=10, bottoms=["g"], tops=["y"]),
        layers.SoftmaxLossLayer(name="loss", bottoms=["y", "label"]),
    ]


def lenet():
    return [
        layers.ConvolutionLayer(name="c", n_filter=5, kernel=(3, 3), bottoms=["data"], tops=["c"]),
        layers.PoolingLayer(name="p", kernel=(2, 2), stride=(2, 2), bottoms=["c"], tops=["p"]),
        layers.InnerProductLayer(name="h", output_dim=30, neuron=neurons.ReLU(), bottoms=["p"], tops=["h"]),
        layers.InnerProductLayer(name="y", output_dim=10, bottoms=["h"], tops=["y"]),
        layers.SoftmaxLossLayer(name="loss", bottoms=["y", "label"]),
    ]


BODIES = {"perceptron": perceptron, "lenet": lenet}


def parameters(max_iter=20, **more):
    return mocha.SolverParameters(max_iter=max_iter, lr_policy=0.05, **more)


def train(backend, body="perceptron", max_iter=20, dtype="float32", **more):
    """The bytes of all parameters, gradients and slots after training, and the last objective."""
    with mocha.System(backend, seed=2, dtype=dtype) as system:
        net = mocha.Net("net", system, [data(), *BODIES[body]()])
        solver = solvers.SGD(parameters(max_iter, **more))
        solver.solve(net)
        arrays = {f"{layer}.{name}": p.numpy() for layer, group in net.parameters.items() for name, p in group.items()}
        arrays |= {name: system.read(value) for name, value in solver.memories(net).items()}
        return arrays | {"objective": np.asarray(solver.state.objective)}


def assert_same(a, b):
    assert a.keys() == b.keys()
    for name in a:
        assert a[name].tobytes() == b[name].tobytes(), name
