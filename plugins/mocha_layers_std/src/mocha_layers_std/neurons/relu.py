"""The neuron `ReLU` and its op."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mocha_core.api import Array, Arrays, Builder, Gradients, Namespace, Neuron, Value, checks
from mocha_layers_std.neurons.element_by_element import ElementByElement


class ReLUOp(ElementByElement):
    """y = max(epsilon, x); dx = dy where y > epsilon, else 0."""

    name = "relu"
    epsilon: float

    def forward(self, xp: Namespace, x: Array) -> Array:
        return xp.maximum(x, self.epsilon)

    def backward(self, xp: Namespace, dy: Arrays, x: Arrays, y: Arrays, wanted: Sequence[bool]) -> Gradients:
        return (xp.where(y[0] > self.epsilon, dy[0], xp.zeros_like(dy[0])),)


@dataclass(frozen=True)
class ReLU(Neuron):
    """y = max(epsilon, x)."""

    epsilon: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "epsilon", checks.number("ReLU", "epsilon", self.epsilon))

    def build(self, b: Builder, x: Value) -> Value:
        return b.call(ReLUOp(self.epsilon), x)[0]
