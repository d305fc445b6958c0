"""Toy square loss over the rows that count: sum((x - t)**2) / (2 * valid_rows)."""

from __future__ import annotations

from mocha_core.describe.layer import Layer
from mocha_core.errors import ShapeError
from mocha_core.graph.op import Op
from mocha_core.graph.value import Spec


class SquareLoss(Op):
    name = "toy.square-loss"
    backward_reads = ("x",)
    differentiable = (0,)

    def infer(self, x, target, valid):
        if x.shape != target.shape:
            raise ShapeError(f"expected bottoms of equal shapes, received {x} and {target}.")
        return (Spec((), x.dtype),)

    def forward(self, xp, x, target, valid):
        difference = self._difference(xp, x, target, valid)
        return xp.sum(difference * difference) / (2 * xp.astype(valid, x.dtype))

    def backward(self, xp, dy, x, y, wanted):
        return dy[0] * self._difference(xp, *x) / xp.astype(x[2], x[0].dtype), None, None

    def _difference(self, xp, x, target, valid):
        rows = xp.reshape(xp.arange(x.shape[0], dtype=xp.int32), (-1,) + (1,) * (len(x.shape) - 1))
        return xp.where(rows < valid, x - target, xp.zeros_like(x))


class SquareLossLayer(Layer):
    weight: float = 1.0

    def build(self, b, x, target):
        (loss,) = b.call(SquareLoss(), x, target, b.valid_rows(x, target))
        b.loss(loss, self.weight)
        return (loss,) if self.tops else ()
