"""The neuron `Exponential` and its op."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mocha_core.api import Array, Arrays, Builder, Gradients, Namespace, Neuron, Value
from mocha_layers_std.neurons.element_by_element import ElementByElement


class ExponentialOp(ElementByElement):
    """y = exp(x); dx = dy * y."""

    name = "exponential"

    def forward(self, xp: Namespace, x: Array) -> Array:
        return xp.exp(x)

    def backward(self, xp: Namespace, dy: Arrays, x: Arrays, y: Arrays, wanted: Sequence[bool]) -> Gradients:
        return (dy[0] * y[0],)


@dataclass(frozen=True)
class Exponential(Neuron):
    """y = exp(x)."""

    def build(self, b: Builder, x: Value) -> Value:
        return b.call(ExponentialOp(), x)[0]
