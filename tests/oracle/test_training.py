"""Mocha against PyTorch: forward, backward and twenty updates of LeNet and of the CIFAR-10 example.

The other side is written here by hand, with autograd and an update of its own; all it takes from Mocha is
the initial parameters. In float64 both must agree to 1e-9, in float32 to 1e-4, in the norm of each array.

In float32 it happens that rounding decides which element of a window is the largest, or whether a rectifier
lets a value pass. The gradient then differs by an element, and after twenty updates PyTorch in float32 is up to
1e-2 from PyTorch in float64. So the float32 runs take few images, of a seed where rounding decides nothing: a
test of its own shows that PyTorch's two precisions agree on them.
"""

import runpy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import mocha_core as mocha
from mocha_core import layers, neurons, solvers

torch = pytest.importorskip("torch", reason="PyTorch is not installed: run `make oracle`")
F = torch.nn.functional

STEPS = 20
TOLERANCE = {"float32": 1e-4, "float64": 1e-9}
ROOT = Path(__file__).parents[2]


def lenet(x, p):
    """All blobs of LeNet by name."""
    blobs = {"conv1": F.conv2d(x, p["conv1___filter"], p["conv1___bias"])}
    blobs["pool1"] = F.max_pool2d(blobs["conv1"], 2, ceil_mode=True)
    blobs["conv2"] = F.conv2d(blobs["pool1"], p["conv2___filter"], p["conv2___bias"])
    blobs["pool2"] = F.max_pool2d(blobs["conv2"], 2, ceil_mode=True)
    blobs["ip1"] = F.relu(F.linear(blobs["pool2"].flatten(1), p["ip1___weight"], p["ip1___bias"]))
    blobs["ip2"] = F.linear(blobs["ip1"], p["ip2___weight"], p["ip2___bias"])
    return blobs


def lrn_within(x):
    """x (1 + 5e-5 / 9 * sum of x^2 over 3 x 3 neighbours, zero outside)^-0.75."""
    squares = F.pad(x * x, (1, 1, 1, 1))
    height, width = x.shape[2:]
    total = sum(squares[:, :, i : i + height, j : j + width] for i in range(3) for j in range(3))
    return x * (1 + 5e-5 / 9 * total) ** -0.75


def cifar10(x, p):
    """All blobs of the CIFAR-10 example by name."""

    def convolution(name, x):
        return F.conv2d(x, p[f"{name}___filter"], p[f"{name}___bias"], padding=2)

    def mean(x):  # PyTorch, too, clips the last window to the image before it divides.
        return F.avg_pool2d(x, 3, 2, ceil_mode=True)

    blobs = {"conv1": convolution("conv1", x)}
    blobs["pool1"] = F.relu(F.max_pool2d(blobs["conv1"], 3, 2, ceil_mode=True))
    blobs["norm1"] = lrn_within(blobs["pool1"])
    blobs["conv2"] = F.relu(convolution("conv2", blobs["norm1"]))
    blobs["pool2"] = mean(blobs["conv2"])
    blobs["norm2"] = lrn_within(blobs["pool2"])
    blobs["conv3"] = F.relu(convolution("conv3", blobs["norm2"]))
    blobs["pool3"] = mean(blobs["conv3"])
    blobs["ip1"] = F.linear(blobs["pool3"].flatten(1), p["ip1___weight"], p["ip1___bias"])
    return blobs


@dataclass
class Case:
    """A net on both sides, and what its training is told."""

    shape: tuple
    scale: float
    batch: dict
    seed: int
    blobs: object
    output: str
    regu_coef: float
    rates: list
    penalties: dict
    """Coefficients of the L2 regularizers; biases have none."""

    def hidden_layers(self):
        if self.blobs is cifar10:
            return EXAMPLE["hidden_layers"]()
        relu, window = neurons.ReLU(), {"kernel": (2, 2), "stride": (2, 2)}
        convolution, ip = layers.ConvolutionLayer, layers.InnerProductLayer
        return [
            convolution(name="conv1", n_filter=20, kernel=(5, 5), bottoms=["data"], tops=["conv1"]),
            layers.PoolingLayer(name="pool1", **window, bottoms=["conv1"], tops=["pool1"]),
            convolution(name="conv2", n_filter=50, kernel=(5, 5), bottoms=["pool1"], tops=["conv2"]),
            layers.PoolingLayer(name="pool2", **window, bottoms=["conv2"], tops=["pool2"]),
            ip(name="ip1", output_dim=500, neuron=relu, bottoms=["pool2"], tops=["ip1"]),
            ip(name="ip2", output_dim=10, bottoms=["ip1"], tops=["ip2"]),
        ]

    def policy(self):
        if self.blobs is cifar10:
            return EXAMPLE["schedule"](STEPS)
        return solvers.LRPolicy.Inv(0.01, 0.0001, 0.75)


EXAMPLE = runpy.run_path(str(ROOT / "examples" / "cifar10" / "train.py"))
CASES = {
    "lenet": Case(
        shape=(1, 28, 28),
        scale=0.5,
        batch={"float32": 8, "float64": 64},
        seed=0,
        blobs=lenet,
        output="ip2",
        regu_coef=0.0005,
        rates=[0.01 * (1 + 0.0001 * i) ** -0.75 for i in range(STEPS)],
        penalties={"conv1___filter": 1, "conv2___filter": 1, "ip1___weight": 1, "ip2___weight": 1},
    ),
    "cifar10": Case(
        shape=(3, 32, 32),
        scale=60.0,
        batch={"float32": 4, "float64": 25},
        seed=2,
        blobs=cifar10,
        output="ip1",
        regu_coef=0.004,
        rates=[0.001] * (STEPS - 2) + [0.0001, 0.00001],
        penalties={"conv1___filter": 1, "conv2___filter": 1, "conv3___filter": 1, "ip1___weight": 250},
    ),
}


def minibatches(case, dtype):
    """Noise around a coarse pattern for each class, so that there is something to learn."""
    random = np.random.default_rng(case.seed)
    batch = case.batch[dtype]
    label = random.integers(0, 10, (STEPS + 1) * batch)
    coarse = random.standard_normal((10, case.shape[0], 4, 4))
    pattern = np.kron(coarse, np.ones((case.shape[1] // 4, case.shape[2] // 4)))
    data = case.scale * (pattern[label] + random.standard_normal((len(label), *case.shape)))
    return data.astype(dtype).reshape(STEPS + 1, batch, *case.shape), label.reshape(STEPS + 1, batch)


def mocha_net(case, system, data, label):
    """The net on Mocha's side."""
    arrays = [data.reshape(-1, *case.shape), label.reshape(-1)]
    source = layers.MemoryDataLayer(name="source", data=arrays, batch_size=data.shape[1])
    loss = layers.SoftmaxLossLayer(name="loss", bottoms=[case.output, "label"])
    return mocha.Net("oracle", system, [source, *case.hidden_layers(), loss])


def tensors(arrays, dtype):
    return {key: torch.tensor(array.astype(dtype), requires_grad=True) for key, array in arrays.items()}


def backward(case, p, data, label):
    """Blobs and objective of a minibatch; gradients are left in the tensors of p."""
    for w in p.values():
        w.grad = None
    blobs = case.blobs(torch.tensor(data), p)
    objective = F.cross_entropy(blobs[case.output], torch.tensor(label))
    objective.backward()
    return blobs, objective


def train(case, p, data, label):
    """Update p, a step for each minibatch, in Caffe's form of momentum; return the last objective."""
    velocity = {key: torch.zeros_like(w) for key, w in p.items()}
    for rate, x, y in zip(case.rates, data, label, strict=True):
        _, objective = backward(case, p, x, y)
        update(case, p, velocity, rate)
    return objective


def update(case, p, velocity, rate):
    """One update of p and velocity from the gradients in the tensors of p."""
    with torch.no_grad():
        for key, w in p.items():
            gradient = w.grad + case.regu_coef * 2 * case.penalties.get(key, 0) * w
            multiplier = 2 if key.endswith("bias") else 1
            velocity[key] = 0.9 * velocity[key] + rate * multiplier * gradient
            w -= velocity[key]


def relative_error(found, expected):
    found, expected = np.asarray(found), expected.detach().numpy()
    assert found.shape == expected.shape
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


def assert_close(found, expected, dtype, what):
    error = relative_error(found, expected)
    assert error < TOLERANCE[dtype], f"{what}: relative error {error:.1e}"


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", CASES)
def test_agrees_with_pytorch(name, dtype):
    case = CASES[name]
    data, label = minibatches(case, dtype)
    with mocha.System("cpu", dtype=dtype, seed=3) as system:
        net = mocha_net(case, system, data, label)
        p = tensors({key: state.numpy() for key, state in net.states.items()}, dtype)

        objective = net.forward()
        net.backward()
        blobs, expected = backward(case, p, data[0], label[0])
        assert_close(objective, expected, dtype, "objective")
        for blob, value in blobs.items():
            assert_close(net.blobs[blob].numpy(), value, dtype, f"blob {blob}")
        for key, w in p.items():
            assert_close(net.gradient(*key.split("___")), w.grad, dtype, f"gradient of {key}")

        parameters = mocha.SolverParameters(
            max_iter=STEPS, lr_policy=case.policy(), momentum=0.9, regu_coef=case.regu_coef
        )
        solver = solvers.SGD(parameters)
        solver.solve(net)
        expected = train(case, p, data[1:], label[1:])
        assert_close(solver.state.objective, expected, dtype, "last objective")
        for key, w in p.items():
            assert_close(net.states[key].numpy(), w, dtype, f"{key} after {STEPS} updates")


@pytest.mark.parametrize("name", CASES)
def test_rounding_decides_nothing_in_the_float32_runs(name):
    case = CASES[name]
    data, label = minibatches(case, "float32")
    with mocha.System("cpu", dtype="float32", seed=3) as system:
        arrays = {key: state.numpy() for key, state in mocha_net(case, system, data, label).states.items()}
    single, double = tensors(arrays, "float32"), tensors(arrays, "float64")
    train(case, single, data[1:], label[1:])
    train(case, double, data[1:].astype("float64"), label[1:])
    for key, w in single.items():
        assert relative_error(w.detach().double(), double[key]) < 1e-5
