"""Toy rectifier: as a neuron, and as a layer that may work in place."""

from __future__ import annotations

from mocha_core.describe.layer import ComputationLayer, Neuron
from mocha_core.graph.op import Op


class Relu(Op):
    name = "toy.relu"
    backward_reads = ("y",)

    def infer(self, x):
        return (x,)

    def forward(self, xp, x):
        return xp.maximum(x, xp.zeros_like(x))

    def backward(self, xp, dy, x, y, wanted):
        return (dy[0] * xp.astype(y[0] > 0, dy[0].dtype),)


class ReluNeuron(Neuron):
    def build(self, b, x):
        return b.call(Relu(), x)[0]


class ReluLayer(ComputationLayer):
    def build(self, b, x):
        return b.call(Relu(), x)
