"""The neuron `Tanh` and its op."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mocha_core.api import Array, Arrays, Builder, Gradients, Namespace, Neuron, Value
from mocha_layers_std.neurons.element_by_element import ElementByElement


class TanhOp(ElementByElement):
    """y = tanh(x); dx = dy * (1 - y**2)."""

    name = "tanh"

    def forward(self, xp: Namespace, x: Array) -> Array:
        return xp.tanh(x)

    def backward(self, xp: Namespace, dy: Arrays, x: Arrays, y: Arrays, wanted: Sequence[bool]) -> Gradients:
        return (dy[0] * (1.0 - xp.square(y[0])),)


@dataclass(frozen=True)
class Tanh(Neuron):
    """y = tanh(x)."""

    def build(self, b: Builder, x: Value) -> Value:
        return b.call(TanhOp(), x)[0]
