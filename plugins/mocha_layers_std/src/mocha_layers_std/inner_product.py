"""`InnerProductLayer` and its op: a fully connected layer."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from mocha_core.api import (
    Array,
    Arrays,
    Builder,
    Gradients,
    Initializer,
    Namespace,
    Op,
    Regularizer,
    ShapeError,
    Spec,
    TrainableLayer,
    Value,
    checks,
)
from mocha_layers_std import fields, received
from mocha_layers_std.initializers import ConstantInitializer, XavierInitializer
from mocha_layers_std.regularizers import L2Regu, NoRegu


class InnerProduct(Op):
    """y[n,o] = b[o] + sum over f of w[o,f] * x[n,f], where x (N, ...) is flattened to (N, features).

    w is (outputs, features), b is (outputs,), y is (N, outputs).
    """

    name = "inner_product"
    backward_reads = ("x0", "x1")

    def infer(self, x: Spec, w: Spec, b: Spec) -> tuple[Spec, ...]:
        received.features(x)
        received.floating(x, w, b)
        expected = (b.size, prod(x.shape[1:]))
        if w.shape != expected:
            raise ShapeError(f"expected weights of shape {expected} for {x}, received {w.shape}.")
        return (Spec((x.shape[0], b.size), x.dtype),)

    def forward(self, xp: Namespace, x: Array, w: Array, b: Array) -> Array:
        flat = xp.reshape(x, (x.shape[0], w.shape[1]))
        return xp.matmul(flat, xp.permute_dims(w, (1, 0))) + b

    def backward(self, xp: Namespace, dy: Arrays, x: Arrays, y: Arrays, wanted: Sequence[bool]) -> Gradients:
        bottom, w, (top,) = x[0], x[1], dy
        dx = dw = db = None
        if wanted[0]:
            dx = xp.reshape(xp.matmul(top, w), bottom.shape)
        if wanted[1]:
            flat = xp.reshape(bottom, (bottom.shape[0], w.shape[1]))
            dw = xp.matmul(xp.permute_dims(top, (1, 0)), flat)
        if wanted[2]:
            db = xp.sum(top, axis=0)
        return dx, dw, db


class InnerProductLayer(TrainableLayer):
    """Multiplies all features of a sample with learned weights, and adds a bias.

    Bottoms: one or more (N, ...) with equal numbers of features; they share the parameters. Tops: (N, output_dim).
    Parameters: `weight` (output_dim, features) and `bias` (output_dim,).
    """

    output_dim: int
    weight_init: Initializer = XavierInitializer()
    bias_init: Initializer = ConstantInitializer(0)
    weight_regu: Regularizer | None = L2Regu(1)
    bias_regu: Regularizer | None = NoRegu()
    weight_lr: float = 1.0
    """The factor on the solver's learning rate."""
    bias_lr: float = 2.0

    def check(self) -> None:
        super().check()
        fields.one_top_each(self)
        fields.learning(self, "weight", "bias")
        self.replace_field("output_dim", checks.integer(self, "output_dim", self.output_dim, at_most=checks.MOST))

    def build(self, b: Builder, *bottoms: Value) -> tuple[Value, ...]:
        received.features(bottoms[0].spec)
        shape = (self.output_dim, prod(bottoms[0].shape[1:]))
        w = b.param("weight", shape, self.weight_init, self.weight_regu, multiplier=self.weight_lr)
        bias = b.param("bias", shape[:1], self.bias_init, self.bias_regu, multiplier=self.bias_lr)
        return tuple(b.call(InnerProduct(), bottom, w, bias)[0] for bottom in bottoms)
