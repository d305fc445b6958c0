"""The neuron `Sigmoid` and its op."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mocha_core.api import Array, Arrays, Builder, Gradients, Namespace, Neuron, Value
from mocha_layers_std.neurons.element_by_element import ElementByElement


class SigmoidOp(ElementByElement):
    """y = 1 / (1 + exp(-x)); dx = dy * y * (1 - y)."""

    name = "sigmoid"

    def forward(self, xp: Namespace, x: Array) -> Array:
        # exp of a negative number never overflows; for x < 0 the fraction is expanded by exp(x).
        small = xp.exp(-xp.abs(x))
        return xp.where(x < 0, small, xp.full_like(small, 1.0)) / (1.0 + small)

    def backward(self, xp: Namespace, dy: Arrays, x: Arrays, y: Arrays, wanted: Sequence[bool]) -> Gradients:
        return (dy[0] * y[0] * (1.0 - y[0]),)


@dataclass(frozen=True)
class Sigmoid(Neuron):
    """y = 1 / (1 + exp(-x))."""

    def build(self, b: Builder, x: Value) -> Value:
        return b.call(SigmoidOp(), x)[0]
