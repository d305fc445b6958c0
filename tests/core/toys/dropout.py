"""Toy dropout: its mask is a pure function of seed, layer, iteration and row, and a saved output."""

from __future__ import annotations

from mocha_core.describe.layer import ComputationLayer
from mocha_core.graph.op import Op
from mocha_core.graph.plan import Phase
from mocha_core.graph.random import uniform


class Dropout(Op):
    name = "toy.dropout"
    backward_reads = ("y1",)
    differentiable = (0,)
    saved = 1
    ratio: float
    seed: int
    stream: int

    def infer(self, x, iteration, first_row):
        return x, x

    def forward(self, xp, x, iteration, first_row):
        rows = x.shape[0]
        random = uniform(xp, self.seed, self.stream, iteration, first_row, rows, x.size // rows)
        mask = xp.astype(xp.reshape(random, x.shape) >= self.ratio, x.dtype) / (1 - self.ratio)
        return x * mask, mask

    def backward(self, xp, dy, x, y, wanted):
        return dy[0] * y[1], None, None


class DropoutLayer(ComputationLayer):
    ratio: float = 0.5

    def build(self, b, x):
        if b.phase is Phase.TEST:
            return (x,)
        op = Dropout(self.ratio, b.seed, b.stream("dropout"))
        return b.call(op, x, b.cell("iteration"), b.first_row(x))
