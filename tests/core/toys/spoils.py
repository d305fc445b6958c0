"""A layer that passes its bottom on, but for one iteration: then it makes numbers that are not finite."""

from __future__ import annotations

from mocha_core.describe.layer import ComputationLayer
from mocha_core.graph.op import Op


class Spoils(Op):
    name = "toy.spoils"
    backward_reads = ("x1",)
    differentiable = (0,)
    at: int
    half: str
    number: float

    def infer(self, x, iteration):
        return (x,)

    def forward(self, xp, x, iteration):
        return self.spoil(xp, x, iteration, "forward")

    def backward(self, xp, dy, x, y, wanted):
        return self.spoil(xp, dy[0], x[1], "backward"), None

    def spoil(self, xp, x, iteration, half):
        now = iteration == self.at
        return xp.where(now, xp.full_like(x, self.number), x) if half == self.half else 1 * x


class SpoilsLayer(ComputationLayer):
    at: int = 5
    half: str = "forward"
    number: float = float("nan")

    def build(self, b, x):
        return b.call(Spoils(self.at, self.half, self.number), x, b.cell("iteration"))
