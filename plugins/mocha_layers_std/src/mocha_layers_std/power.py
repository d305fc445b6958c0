"""`PowerLayer` and its op: a power of a linear function."""

from __future__ import annotations

from collections.abc import Sequence

from mocha_core.api import Array, Arrays, Builder, ComputationLayer, Gradients, Namespace, Op, Spec, Value, checks
from mocha_layers_std import fields, received


class Power(Op):
    """y = (scale * x + shift)**power; dx = dy * power * scale * (scale * x + shift)**(power - 1)."""

    name = "power"
    backward_reads = ("x0",)
    power: float
    scale: float
    shift: float

    def infer(self, x: Spec) -> tuple[Spec, ...]:
        received.floating(x)
        return (x,)

    def forward(self, xp: Namespace, x: Array) -> Array:
        return xp.pow(self.scale * x + self.shift, self.power)

    def backward(self, xp: Namespace, dy: Arrays, x: Arrays, y: Arrays, wanted: Sequence[bool]) -> Gradients:
        factor = self.power * self.scale
        # A constant has no gradient, even if the formula gives zero times infinity.
        if factor == 0:
            return (None,)
        return (dy[0] * factor * xp.pow(self.scale * x[0] + self.shift, self.power - 1),)


class PowerLayer(ComputationLayer):
    """y = (scale * x + shift)**power, element by element.

    Bottoms: one or more, of any shape. Tops: as many, of the same shapes.
    """

    power: float = 1.0
    scale: float = 1.0
    shift: float = 0.0

    def check(self) -> None:
        super().check()
        fields.one_top_each(self)
        for field in ("power", "scale", "shift"):
            self.replace_field(field, checks.number(self, field, getattr(self, field)))

    def build(self, b: Builder, *bottoms: Value) -> tuple[Value, ...]:
        op = Power(self.power, self.scale, self.shift)
        return tuple(b.call(op, bottom)[0] for bottom in bottoms)
