"""The neuron `LReLU` and its op."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mocha_core.api import Array, Arrays, Builder, Gradients, Namespace, Neuron, Value
from mocha_layers_std.neurons.element_by_element import ElementByElement

#: The slope below zero.
SLOPE = 0.01


class LReLUOp(ElementByElement):
    """y = x where x > 0, else 0.01 x; dx = dy where y > 0, else 0.01 dy."""

    name = "lrelu"

    def forward(self, xp: Namespace, x: Array) -> Array:
        return xp.where(x > 0, x, SLOPE * x)

    def backward(self, xp: Namespace, dy: Arrays, x: Arrays, y: Arrays, wanted: Sequence[bool]) -> Gradients:
        return (xp.where(y[0] > 0, dy[0], SLOPE * dy[0]),)


@dataclass(frozen=True)
class LReLU(Neuron):
    """The leaky rectifier: y = x where x > 0, else 0.01 x."""

    def build(self, b: Builder, x: Value) -> Value:
        return b.call(LReLUOp(), x)[0]
