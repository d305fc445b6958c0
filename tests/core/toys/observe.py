"""Runs the same work on any backend and returns everything that can be seen of it, as NumPy arrays."""

from __future__ import annotations

import numpy as np

import mocha_core as mocha
from toys import nets
from toys.sgd import SGD

ITERATIONS = 7


def parameters(**options):
    given = {"max_iter": ITERATIONS, "lr_policy": 0.05, "regu_coef": 0.01}
    return mocha.SolverParameters(**(given | options))


def contents(net):
    """Parameters, states and gradients by name."""
    return {key: state.numpy() for key, state in net.states.items()}


def train(backend, layers, *, dtype="float64", seed=3, frozen=(), name="net", **options):
    """Parameters and states after training, and the last objective."""
    with mocha.System(backend, dtype=dtype, seed=seed) as system:
        net = mocha.Net(name, system, layers)
        net.freeze(*frozen)
        solver = SGD(parameters(**options))
        solver.solve(net)
        return contents(net) | {"objective": np.asarray(solver.state.objective)}


def everything(backend, dtype):
    """Train, predict and validate in turn, with a training and a test net that share their layers."""
    images = nets.rows(7, seed=11)[0]
    with mocha.System(backend, dtype=dtype, seed=3) as system:
        shared = nets.body()
        net = mocha.Net("train", system, [nets.data(), *shared, *nets.losses()])
        test_layers = [nets.data(batch=8, n=13), *shared, *nets.losses(), *nets.accuracy()]
        test = mocha.Net("test", system, test_layers)
        solver = SGD(parameters(max_iter=1))
        seen = {}
        for turn in range(3):
            solver.parameters = parameters(max_iter=3 * turn + 2)
            solver.solve(net)
            seen |= {f"{turn} {k}": v for k, v in contents(net).items()}
            seen[f"{turn} objective"] = np.asarray(solver.state.objective)
            seen[f"{turn} batch 1"] = test.predict(images[:1], "scores")
            seen[f"{turn} batch 7"] = test.predict(images, "side", batch_size=7)
            seen[f"{turn} tail"] = test.predict(images, "tied1", batch_size=3)
            seen[f"{turn} training net"] = net.predict(images, "scores")
            seen[f"{turn} validation"] = np.asarray(test.forward_epoch())
            seen[f"{turn} accuracy"] = np.asarray(test.statistics()["accuracy-accuracy"])
            seen[f"{turn} forward"] = np.asarray(net.forward())
            net.backward()
            for name in ("conv1", "pool1", "ip1", "tied2", "square", "loss"):
                seen[f"{turn} {name}"] = net.blobs[name].numpy()
            for layer, group in net.parameters.items():
                seen |= {f"{turn} d {layer}.{name}": net.gradient(layer, name) for name in group}
        seen["cursor"] = np.asarray(net.feeds["data"].cursor)
        return seen


def assert_equal(seen, expected, dtype="float64"):
    """Everything seen is as expected, up to rounding in `dtype`; names what is not."""
    assert seen.keys() == expected.keys()
    tolerance = {"float32": 2e-4, "float64": 1e-11}[dtype]
    for key, array in expected.items():
        np.testing.assert_allclose(seen[key], array, rtol=tolerance, atol=tolerance, err_msg=key)
