"""`SoftmaxLayer` and its op: class probabilities from scores."""

from __future__ import annotations

from collections.abc import Sequence

from mocha_core.api import Array, Arrays, Builder, ComputationLayer, Gradients, Namespace, Op, Spec, Value
from mocha_layers_std import fields, received


def softmax(xp: Namespace, x: Array) -> Array:
    """exp(x) / sum of exp(x) along axis 1, with the largest x subtracted first so that nothing overflows."""
    exponential = xp.exp(x - xp.max(x, axis=1, keepdims=True))
    return exponential / xp.sum(exponential, axis=1, keepdims=True)


class Softmax(Op):
    """y = exp(x) / sum of exp(x) over the channels; dx = y * (dy - sum of dy * y over the channels)."""

    name = "softmax"
    backward_reads = ("y0",)

    def infer(self, x: Spec) -> tuple[Spec, ...]:
        received.features(x)
        return (x,)

    def forward(self, xp: Namespace, x: Array) -> Array:
        return softmax(xp, x)

    def backward(self, xp: Namespace, dy: Arrays, x: Arrays, y: Arrays, wanted: Sequence[bool]) -> Gradients:
        return (y[0] * (dy[0] - xp.sum(dy[0] * y[0], axis=1, keepdims=True)),)


class SoftmaxLayer(ComputationLayer):
    """Probabilities that are positive and sum to 1 over the channels, at every position.

    Bottoms: one or more (N, channels, ...). Tops: as many, of the same shapes.
    """

    def check(self) -> None:
        super().check()
        fields.one_top_each(self)

    def build(self, b: Builder, *bottoms: Value) -> tuple[Value, ...]:
        return tuple(b.call(Softmax(), bottom)[0] for bottom in bottoms)
