"""A toy recurrent layer, whose rows are carried from minibatch to minibatch, and a counter of minibatches."""

from __future__ import annotations

from mocha_core.describe.layer import ComputationLayer, TrainableLayer
from mocha_core.graph.op import Op
from toys.normal import Constant, Normal


class Recur(Op):
    """y = tanh(x w + h), which is the next h. No gradient flows into h: back-propagation is truncated."""

    name = "toy.recur"
    backward_reads = ("x0", "x1", "y0")
    updates = (2,)
    differentiable = (0, 1)

    def infer(self, x, w, h):
        return (h._replace(dtype=x.dtype),)

    def forward(self, xp, x, w, h):
        y = xp.tanh(xp.matmul(x, w) + h)
        return y, y + 0

    def backward(self, xp, dy, x, y, wanted):
        d = dy[0] * (1 - y[0] * y[0])
        return (xp.matmul(d, xp.permute_dims(x[1], (1, 0))), xp.matmul(xp.permute_dims(x[0], (1, 0)), d), None)


class RecurrentLayer(TrainableLayer):
    """Bottom (N, features), top (N, units). Row n of a minibatch goes on where row n of the one before ended."""

    units: int = 2
    begin: float = 0.25

    def build(self, b, x):
        w = b.param("weight", (x.shape[1], self.units), Normal())
        return b.call(Recur(), x, w, b.state("carried", (self.units,), Constant(self.begin), per_row=True))


class Count(Op):
    """Its bottom, times one more than the minibatches counted before."""

    name = "toy.count"
    backward_reads = ("x1",)
    updates = (1,)
    differentiable = (0,)

    def infer(self, x, count):
        return (x,)

    def forward(self, xp, x, count):
        return x * xp.astype(count + 1, x.dtype), count + 1

    def backward(self, xp, dy, x, y, wanted):
        return dy[0] * xp.astype(x[1], dy[0].dtype), None


class CountLayer(ComputationLayer):
    """Counts minibatches in both phases, and says so in its top; what it counts in the test phase is not kept."""

    begin: float = 0
    dtype: str = "int64"

    def build(self, b, x):
        return b.call(Count(), x, b.state("count", (), Constant(self.begin), dtype=self.dtype))
