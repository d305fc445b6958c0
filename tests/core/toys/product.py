"""Toy product of two bottoms, and a layer that multiplies its bottom by itself."""

from __future__ import annotations

from mocha_core.describe.layer import ComputationLayer
from mocha_core.graph.op import Op


class Product(Op):
    name = "toy.product"
    backward_reads = ("x",)

    def infer(self, a, b):
        return (a,)

    def forward(self, xp, a, b):
        return a * b

    def backward(self, xp, dy, x, y, wanted):
        return dy[0] * x[1] if wanted[0] else None, dy[0] * x[0] if wanted[1] else None


class SquareLayer(ComputationLayer):
    def build(self, b, x):
        return b.call(Product(), x, x)
