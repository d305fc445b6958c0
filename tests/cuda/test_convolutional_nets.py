"""Nets with convolutions train on the host's stand-in as on the CPU: gradients that meet, and memory that is shared."""

import runpy
from pathlib import Path

import numpy as np
import pytest
from host_backend import HostBackend

import mocha_core as mocha
from mocha_core import layers, neurons, solvers
from mocha_core.testing.inputs import constant


def residual_net():
    def convolution(name, bottom, n_filter, **more):
        given = {"kernel": (3, 3), "pad": (1, 1), "bottoms": [bottom], "tops": [name]} | more
        return layers.ConvolutionLayer(name=name, n_filter=n_filter, **given)

    return [
        convolution("a", "data", 4, neuron=neurons.ReLU()),
        convolution("b", "a", 4, n_group=2, neuron=neurons.ReLU()),
        convolution("c", "b", 4),
        layers.ElementWiseLayer(name="sum", bottoms=["a", "c"], tops=["sum"]),
        convolution("d", "sum", 6, kernel=(3, 2), stride=(2, 1), pad=(0, 1)),
        convolution("e", "sum", 6, kernel=(3, 2), stride=(2, 1), pad=(0, 1), neuron=neurons.ReLU(0.1)),
        layers.ElementWiseLayer(name="both", bottoms=["d", "e"], tops=["both"]),
        layers.InnerProductLayer(name="y", output_dim=5, bottoms=["both"], tops=["y"]),
        layers.SoftmaxLossLayer(name="loss", bottoms=["y", "label"]),
    ]


def trained(backend, **more):
    rng = np.random.default_rng(3)
    data = [rng.standard_normal((24, 3, 8, 7)), rng.integers(0, 5, 24)]
    with mocha.System(backend, seed=2) as system:
        source = layers.MemoryDataLayer(name="data", batch_size=8, data=constant(data), tops=["data", "label"])
        net = mocha.Net("net", system, [source, *residual_net()])
        solver = solvers.SGD(mocha.SolverParameters(lr_policy=0.05, momentum=0.9, **more))
        solver.solve(net)
        program = net.runs.training_program(solver)
        return [p.numpy() for group in net.parameters.values() for p in group.values()], program.kernels()


REAL_NETS = Path(__file__).parents[1] / "native" / "real_nets.py"


@pytest.mark.parametrize(("name", "launches"), [("lenet", 20), ("cifar10", 27)])
def test_launches_of_an_iteration(name, launches):
    """Each takes a GPU longer than most of these kernels: one more is slower."""
    backend, recorded = HostBackend(), []

    def submit(work, submitter=backend.device.submit):
        if backend.device._recording is not None:
            recorded.append(work)
        submitter(work)

    backend.device.submit = submit
    with mocha.System(backend, seed=1) as system:
        net, solver_for = runpy.run_path(str(REAL_NETS))["open_net"](system, name, 2)
        solver = solver_for(2)
        solver.solve(net)
    assert len(recorded) == launches


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize(("precision", "iterations", "tolerance"), [("tf32", 6, 1e-5), ("bf16", 4, 0.02)])
def test_training_is_as_on_the_cpu(precision, iterations, tolerance, accumulate):
    """Of all parameters together: single ones depend on which side of a ReLU's edge rounding puts something."""
    found, kernels = trained(HostBackend(precision=precision), max_iter=iterations, accumulate=accumulate)
    expected, _ = trained("cpu", max_iter=iterations, accumulate=accumulate)
    ours, theirs = (np.concatenate([p.ravel() for p in parameters]) for parameters in (found, expected))
    assert np.linalg.norm(ours - theirs) < tolerance * np.linalg.norm(theirs)
    used = [use.kernel for use in kernels if use.layer in "abcde" and use.op.endswith(("convolution", "then_relu"))]
    assert used
    assert all(kernel.startswith("convolution (on the host)") for kernel in used)
