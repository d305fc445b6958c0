"""A layer that passes its bottom on, and calls a hook in each half of each minibatch."""

from __future__ import annotations

from collections.abc import Callable

from mocha_core.describe.layer import ComputationLayer
from mocha_core.graph.op import Op


class Watched(Op):
    name = "toy.watched"
    backward_reads = ()
    hook: Callable[[str], object]

    def infer(self, x):
        return (x,)

    def forward(self, xp, x):
        self.hook("forward")
        return 1 * x

    def backward(self, xp, dy, x, y, wanted):
        self.hook("backward")
        return (1 * dy[0],)


class WatchedLayer(ComputationLayer):
    hook: Callable[[str], object] = print

    def build(self, b, x):
        return b.call(Watched(self.hook), x)
