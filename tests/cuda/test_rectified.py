"""Fusions with ReLU, on the host: they are made, they stay in the graph, and only rounding changes."""

import runpy
from pathlib import Path

import numpy as np
import pytest
from host_backend import HostBackend
from mocha_cuda.compiled import CUDAKernel, served

import mocha_core as mocha
from mocha_core import hookimpl, layers, neurons, solvers
from mocha_core.compile.kernel import store
from mocha_core.testing.inputs import constant

POOLINGS = {"max": layers.Pooling.Max, "mean": layers.Pooling.Mean}


class Able(CUDAKernel):
    """Takes a ReLU along wherever it is asked to; computes by the op's reference, in the stream."""

    rectifies = masks_bottom = masks_top = True

    def submitted(self, work):
        return lambda: self.backend.device.submit(work)

    def forward(self, ins, outs, add):
        return self.rectified(ins, outs, add, -np.inf)

    def rectified(self, ins, outs, add, floor):
        def run():
            results = self.op.forward(np, *ins)
            first, *others = results if isinstance(results, tuple) else (results,)
            store((np.maximum(first, floor), *others), outs, add)

        return self.submitted(run)

    def backward(self, ins, outs, add):
        return self.gradients(ins, outs, add)

    def bottom_masked(self, ins, outs, add, mask, floor):
        return self.gradients(ins, outs, add, bottom=lambda: mask > floor)

    def top_masked(self, ins, outs, add, mask, floor):
        return self.gradients(ins, outs, add, top=lambda: mask > floor)

    def gradients(self, ins, outs, add, top=lambda: True, bottom=lambda: True):
        n = len(self.call.outs)
        wanted = [out is not None for out in outs]

        def run():
            dy = [np.where(top(), ins[0], 0), *ins[1:n]]
            x, y = ins[n : n + len(self.call.ins)], ins[n + len(self.call.ins) :]
            first, *others = self.op.backward(np, dy, x, y, wanted)
            store((None if first is None else np.where(bottom(), first, 0), *others), outs, add)

        return self.submitted(run)


class Product(Able):
    """As cuBLASLt's: leaves the ReLU below to the layer below."""

    masks_bottom = False


KERNELS = {"convolution": Able, "inner_product": Product, "max_pooling": Able, "mean_pooling": Able}


class AbleKernels:
    @hookimpl
    def mocha_register_kernels(self, kernels):
        for op, kernel in KERNELS.items():
            kernels.add(op, HostBackend.name, served(kernel))


@pytest.fixture(params=["able kernels", "the plugin's kernels"])
def able(request, register_plugin):
    """Whether the ops' kernels are those above."""
    if request.param == "able kernels":
        register_plugin(AbleKernels(), "able-kernels")
        return True
    return False


def body(pooling, epsilon):
    """The ReLUs are after a convolution and before pooling, after pooling, between inner products."""
    neuron, kind = neurons.ReLU(epsilon), POOLINGS[pooling]
    image = {"kernel": (3, 3), "n_filter": 4}
    return [
        layers.ConvolutionLayer(name="c1", neuron=neuron, bottoms=["data"], tops=["c1"], **image),
        layers.PoolingLayer(name="p1", pooling=kind, kernel=(3, 3), stride=(2, 2), bottoms=["c1"], tops=["p1"]),
        layers.ConvolutionLayer(name="c2", pad=(1, 1), bottoms=["p1"], tops=["c2"], **image),
        layers.PoolingLayer(
            name="p2", pooling=kind, kernel=(2, 2), stride=(2, 2), neuron=neuron, bottoms=["c2"], tops=["p2"]
        ),
        layers.InnerProductLayer(name="h", output_dim=9, neuron=neuron, bottoms=["p2"], tops=["h"]),
        layers.InnerProductLayer(name="y", output_dim=5, bottoms=["h"], tops=["y"]),
        layers.SoftmaxLossLayer(name="loss", bottoms=["y", "label"]),
    ]


def trained(pooling, epsilon, dtype="float64", **options):
    """The objectives, the parameters, and the steps' (layer, op, half) with their kernels."""
    rng = np.random.default_rng(7)
    arrays = [rng.standard_normal((12, 2, 11, 10)), rng.integers(0, 5, 12)]
    with mocha.System(HostBackend(**options), seed=3, dtype=dtype) as system:
        source = layers.MemoryDataLayer(name="data", batch_size=6, data=constant(arrays), tops=["data", "label"])
        net = mocha.Net("net", system, [source, *body(pooling, epsilon)])
        solver = solvers.SGD(mocha.SolverParameters(max_iter=6, lr_policy=0.05, momentum=0.9))
        solver.solve(net)
        program = net.runs.training_program(solver)
        kernels = {(use.layer, use.op, use.half): use.kernel for use in program.kernels()}
        found = [p.numpy() for group in net.parameters.values() for p in group.values()]
        return kernels, [np.asarray(program.objectives), *found]


@pytest.mark.parametrize("epsilon", [0.0, 0.05])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_fusions_change_rounding_only(able, pooling, epsilon):
    kernels, fused = trained(pooling, epsilon)
    alone, apart = trained(pooling, epsilon, fuse=False)
    for ours, theirs in zip(fused, apart, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-11, atol=1e-13)
    assert {op for _, op, _ in alone}.isdisjoint({"then_relu", "masked_backward"})
    if able:
        assert {layer for layer, op, _ in kernels if op == "then_relu"} == {"c1", "p2", "h"}
        # Of the ReLU below p1, and of the one above p2.
        assert {layer for layer, op, _ in kernels if op == "masked_backward"} == {"p1", "p2"}
        assert {(layer, half) for layer, op, half in kernels if op == "relu"} == {("h", "backward")}
    else:
        # y is narrow, and takes the ReLU below it along.
        assert "y" in {layer for layer, op, _ in kernels if op == "masked_backward"}
        assert "relu" not in {op for _, op, _ in kernels}


def test_fused_steps_stay_in_the_graph(register_plugin):
    register_plugin(AbleKernels(), "able-kernels")
    kernels, _ = trained("max", 0.0)
    fused = {key: kernel for key, kernel in kernels.items() if key[1] in ("then_relu", "masked_backward")}
    assert len(fused) == 5
    assert not [kernel for kernel in fused.values() if "splits" in kernel]


def test_lenet_leaves_no_relu_to_a_step_of_its_own():
    real_nets = runpy.run_path(str(Path(__file__).parents[1] / "native" / "real_nets.py"))
    with mocha.System(HostBackend(), seed=5) as system:
        net, solver_for = real_nets["open_net"](system, "lenet", 64)
        uses = {(use.layer, use.op): use.kernel for use in net.runs.training_program(solver_for(1)).kernels()}
    assert uses["ip2", "masked_backward"] == "InnerProduct + ReLU"
    assert "relu" not in {op for _, op in uses}
