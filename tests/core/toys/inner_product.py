"""Toy inner product: x (N, ...), w (M, D), b (M); `flatten` makes x two-dimensional with a view."""

from __future__ import annotations

from math import prod

from mocha_core.describe.layer import TrainableLayer
from mocha_core.errors import ShapeError
from mocha_core.graph.op import Op
from mocha_core.graph.value import Spec
from toys.normal import L2, Constant, Normal


class Dot(Op):
    name = "toy.dot"
    backward_reads = ("x0", "x1")

    def infer(self, x, w, b):
        if prod(x.shape[1:]) != w.shape[1]:
            raise ShapeError(f"expected {w.shape[1]} features, received {x}.")
        return (Spec((x.shape[0], w.shape[0]), x.dtype),)

    def forward(self, xp, x, w, b):
        return xp.matmul(xp.reshape(x, (x.shape[0], -1)), xp.permute_dims(w, (1, 0))) + b

    def backward(self, xp, dy, x, y, wanted):
        (d,), (x0, w, _) = dy, x
        return (
            xp.reshape(xp.matmul(d, w), x0.shape) if wanted[0] else None,
            xp.matmul(xp.permute_dims(d, (1, 0)), xp.reshape(x0, (d.shape[0], -1))) if wanted[1] else None,
            xp.sum(d, axis=0) if wanted[2] else None,
        )


class InnerProductLayer(TrainableLayer):
    output_dim: int
    flatten: bool = False

    def build(self, b, x):
        features = prod(x.shape[1:])
        w = b.param("weight", (self.output_dim, features), Normal(), regularizer=L2())
        bias = b.param("bias", (self.output_dim,), Constant(0.3), multiplier=2.0)
        return b.call(Dot(), b.view(x, (x.shape[0], features)) if self.flatten else x, w, bias)
