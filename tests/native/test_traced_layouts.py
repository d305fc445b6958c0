"""Traced ops between kernels that keep blobs in lanes: who computes alike in any layout follows it, others do not."""

import numpy as np
import pytest
from mocha_native.backend import NativeBackend
from nets import data, parameters
from test_traced_rows import RMSNorm
from traced_ops import Softmax, Swish

import mocha_core as mocha
from mocha_core import layers, neurons, solvers
from mocha_core.api import ComputationLayer
from mocha_core.graph.op import Op


class Penalty(Op):
    """y = x; dx = dy + 0.1 x, as if the squares of x were in the objective: it is not zero where dy is."""

    name = "acme.penalty"
    backward_reads = ("x0",)
    strength: float = 0.1

    def infer(self, x):
        return (x,)

    def forward(self, xp, x):
        return x + 0.0

    def backward(self, xp, dy, x, y, wanted):
        return (dy[0] + self.strength * x[0],)


class OneOp(ComputationLayer):
    op: Op

    def build(self, b, x):
        return b.call(self.op, x)


def trained(middle, backend, batch, wide):
    """The parameters, and which layouts the steps of "op" write: between inner products, or convolutions."""
    options = {"n_filter": 6, "kernel": (3, 3), "pad": (1, 1)} if wide else {"output_dim": 20}
    kind = layers.ConvolutionLayer if wide else layers.InnerProductLayer
    body = [
        kind(name="before", bottoms=["data"], tops=["before"], **options),
        middle,
        layers.PowerLayer(name="power", scale=0.5, power=2.0, shift=0.25, bottoms=["op"], tops=["power"]),
        kind(name="behind", bottoms=["power"], tops=["behind"], **options),
        layers.InnerProductLayer(name="y", output_dim=10, bottoms=["behind"], tops=["y"]),
        layers.SoftmaxLossLayer(name="loss", bottoms=["y", "label"]),
    ]
    with mocha.System(backend, dtype="float64", seed=2) as system:
        net = mocha.Net("net", system, [data(batch=batch), *body])
        solver = solvers.SGD(parameters(4))
        solver.solve(net)
        program = net.runs.training_program(solver)
        steps = [b.step for b in program.bound if b.step.call.layer == "op"]
        homes = {program.arrangement.home(v).name for step in steps for v in step.writes}
        return {name: state.numpy() for name, state in net.states.items()}, homes


def check(middle, batch, wide):
    """In lanes whose last ones are empty, and in full ones. The layouts that "op" writes."""
    expected, _ = trained(middle, "cpu", batch, wide)
    homes = set()
    for fuse in (True, False):
        found, at = trained(middle, NativeBackend(threads=2, fuse=fuse), batch, wide)
        homes |= at
        for name, values in expected.items():
            np.testing.assert_allclose(found[name], values, rtol=1e-9, atol=1e-11, err_msg=name)
    return homes


@pytest.mark.parametrize("wide", [False, True], ids=["rows", "images"])
@pytest.mark.parametrize("batch", [13, 16])
@pytest.mark.parametrize("op", [Penalty(), Softmax(), RMSNorm()], ids=lambda op: op.name)
def test_what_depends_on_the_layout_is_computed_in_the_plain_one(isa, op, batch, wide):
    """Reductions need rows; and a gradient that is not zero in the padding would count there."""
    assert check(OneOp(op=op, name="op", bottoms=["before"], tops=["op"]), batch, wide) == {"plain"}


FOLLOWING = {
    "swish": OneOp(op=Swish(), name="op", bottoms=["before"], tops=["op"]),
    "product": layers.ElementWiseLayer(
        name="op", operation=layers.ElementWise.Multiply, bottoms=["before"] * 2, tops=["op"]
    ),
    **{
        neuron.__name__: layers.PowerLayer(name="op", neuron=neuron(), bottoms=["before"], tops=["op"])
        for neuron in (neurons.ReLU, neurons.LReLU, neurons.Sigmoid, neurons.Tanh)
    },
}


@pytest.mark.parametrize("wide", [False, True], ids=["rows", "images"])
@pytest.mark.parametrize("middle", FOLLOWING.values(), ids=FOLLOWING)
def test_element_wise_ops_follow_the_layout_of_what_is_before_them(middle, wide):
    homes = check(middle, 13, wide)
    assert homes
    assert "plain" not in homes
