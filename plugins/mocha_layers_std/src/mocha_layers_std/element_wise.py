"""`ElementWiseLayer` and its ops: arithmetic on two blobs of one shape."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from mocha_core.api import Array, Arrays, Builder, ComputationLayer, EnumGroup, Gradients, Namespace, Op, Spec, Value
from mocha_layers_std import fields, received


class ElementWise(StrEnum, metaclass=EnumGroup):
    """The operation on two elements."""

    Add = "add"
    Subtract = "subtract"
    Multiply = "multiply"
    Divide = "divide"


class _TwoOperands(Op):
    """An op whose operands and output have one shape."""

    def infer(self, a: Spec, b: Spec) -> tuple[Spec, ...]:
        received.alike(a, b)
        return (a,)


class Add(_TwoOperands):
    """y = a + b."""

    name = "add"
    backward_reads = ()
    passes_gradient = (0, 1)

    def forward(self, xp: Namespace, a: Array, b: Array) -> Array:
        return a + b

    def backward(self, xp: Namespace, dy: Arrays, x: Arrays, y: Arrays, wanted: Sequence[bool]) -> Gradients:
        return dy[0], dy[0]


class Subtract(_TwoOperands):
    """y = a - b."""

    name = "subtract"
    backward_reads = ()
    passes_gradient = (0,)

    def forward(self, xp: Namespace, a: Array, b: Array) -> Array:
        return a - b

    def backward(self, xp: Namespace, dy: Arrays, x: Arrays, y: Arrays, wanted: Sequence[bool]) -> Gradients:
        return dy[0], -dy[0]


class Multiply(_TwoOperands):
    """y = a * b; da = dy * b, db = dy * a."""

    name = "multiply"
    backward_reads = ("x",)

    def forward(self, xp: Namespace, a: Array, b: Array) -> Array:
        return a * b

    def backward(self, xp: Namespace, dy: Arrays, x: Arrays, y: Arrays, wanted: Sequence[bool]) -> Gradients:
        return dy[0] * x[1], dy[0] * x[0]


class Divide(_TwoOperands):
    """y = a / b; da = dy / b, db = -da * y."""

    name = "divide"
    backward_reads = ("x1", "y0")

    def forward(self, xp: Namespace, a: Array, b: Array) -> Array:
        return a / b

    def backward(self, xp: Namespace, dy: Arrays, x: Arrays, y: Arrays, wanted: Sequence[bool]) -> Gradients:
        da = dy[0] / x[1]
        return da, -da * y[0]


OPS: dict[ElementWise, type[_TwoOperands]] = {
    ElementWise.Add: Add,
    ElementWise.Subtract: Subtract,
    ElementWise.Multiply: Multiply,
    ElementWise.Divide: Divide,
}


class ElementWiseLayer(ComputationLayer):
    """Adds, subtracts, multiplies or divides two blobs, element by element.

    Bottoms: two of equal shapes. Top: one of that shape.
    """

    operation: ElementWise = ElementWise.Add

    def check(self) -> None:
        super().check()
        fields.blobs(self, "left right", "result")
        self.replace_field("operation", fields.choice(self, "operation", self.operation, ElementWise))

    def build(self, b: Builder, *bottoms: Value) -> tuple[Value, ...]:
        return b.call(OPS[self.operation](), *bottoms)
