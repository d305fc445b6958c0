"""Toy max pooling: windows do not overlap. Which element won is a saved output; backward reads only that."""

from __future__ import annotations

from mocha_core.describe.layer import ComputationLayer
from mocha_core.errors import ShapeError
from mocha_core.graph.op import Op
from mocha_core.graph.value import Spec


class Pooling(Op):
    name = "toy.pooling"
    backward_reads = ("y1",)
    saved = 1
    kernel: int

    def infer(self, x):
        n, c, height, width = x.shape
        if height % self.kernel or width % self.kernel:
            raise ShapeError(f"expected height and width to be multiples of {self.kernel}, received {x}.")
        shape = (n, c, height // self.kernel, width // self.kernel)
        return Spec(shape, x.dtype), Spec(shape, "int32")

    def forward(self, xp, x):
        n, c, height, width = x.shape
        k = self.kernel
        windows = xp.permute_dims(xp.reshape(x, (n, c, height // k, k, width // k, k)), (0, 1, 2, 4, 3, 5))
        windows = xp.reshape(windows, (n, c, height // k, width // k, k * k))
        return xp.max(windows, axis=4), xp.astype(xp.argmax(windows, axis=4), xp.int32)

    def backward(self, xp, dy, x, y, wanted):
        d, winner, k = dy[0], y[1], self.kernel
        n, c, height, width = d.shape
        window = xp.arange(k * k, dtype=xp.int32)
        here = xp.expand_dims(winner, axis=4) == window
        spread = xp.expand_dims(d, axis=4) * xp.astype(here, d.dtype)
        spread = xp.permute_dims(xp.reshape(spread, (n, c, height, width, k, k)), (0, 1, 2, 4, 3, 5))
        return (xp.reshape(spread, (n, c, height * k, width * k)),)


class PoolingLayer(ComputationLayer):
    kernel: int = 2

    def build(self, b, x):
        return b.call(Pooling(self.kernel), x)
