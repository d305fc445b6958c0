"""Toy batch normalization: batch statistics are saved outputs, running statistics are states it updates."""

from __future__ import annotations

from mocha_core.describe.layer import ComputationLayer
from mocha_core.graph.op import Op
from mocha_core.graph.plan import Phase
from mocha_core.graph.value import Spec
from toys.normal import Constant

EPSILON = 1e-3
DECAY = 0.9


def _axes(x):
    return (0, *range(2, len(x.shape)))


class Standardize(Op):
    """While training: y = (x - mean) / deviation, per channel."""

    name = "toy.standardize"
    backward_reads = ("y",)
    updates = (1, 2)
    differentiable = (0,)
    saved = 1

    def infer(self, x, mean, variance):
        shape = tuple(n if axis == 1 else 1 for axis, n in enumerate(x.shape))
        return x, Spec(shape, x.dtype)

    def forward(self, xp, x, mean, variance):
        m = xp.mean(x, axis=_axes(x), keepdims=True)
        centred = x - m
        v = xp.mean(centred * centred, axis=_axes(x), keepdims=True)
        deviation = xp.sqrt(v + EPSILON)
        new_mean = DECAY * mean + (1 - DECAY) * xp.reshape(m, mean.shape)
        new_variance = DECAY * variance + (1 - DECAY) * xp.reshape(v, variance.shape)
        return centred / deviation, deviation, new_mean, new_variance

    def backward(self, xp, dy, x, y, wanted):
        d, (out, deviation, *_) = dy[0], y
        mean = xp.mean(d, axis=_axes(d), keepdims=True)
        along = xp.mean(d * out, axis=_axes(d), keepdims=True)
        return (d - mean - out * along) / deviation, None, None


class StandardizeByRunning(Op):
    """While testing: by the running statistics, which are inputs like any other."""

    name = "toy.standardize-by-running"
    differentiable = (0,)

    def infer(self, x, mean, variance):
        return (x,)

    def forward(self, xp, x, mean, variance):
        shape = (1, -1) + (1,) * (len(x.shape) - 2)
        return (x - xp.reshape(mean, shape)) / xp.sqrt(xp.reshape(variance, shape) + EPSILON)


class StandardizeLayer(ComputationLayer):
    def build(self, b, x):
        mean = b.state("mean", (x.shape[1],), Constant(0.0))
        variance = b.state("variance", (x.shape[1],), Constant(1.0))
        op = Standardize() if b.phase is Phase.TRAIN else StandardizeByRunning()
        return b.call(op, x, mean, variance)
