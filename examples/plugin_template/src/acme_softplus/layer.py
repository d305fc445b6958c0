"""`AcmeSoftplusLayer` and its op: a smooth rectifier."""

from __future__ import annotations

from collections.abc import Sequence

from mocha_core.api import (
    Array,
    Arrays,
    Builder,
    ComputationLayer,
    Gradients,
    Namespace,
    Op,
    ShapeError,
    Spec,
    Value,
    checks,
)


class AcmeSoftplus(Op):
    """y = log(1 + exp(k x)) / k; dx = dy / (1 + exp(-k x)), where k is the sharpness."""

    name = "acme.softplus"
    backward_reads = ("x0",)
    sharpness: float

    def infer(self, x: Spec) -> tuple[Spec, ...]:
        if x.dtype not in ("float32", "float64"):
            raise ShapeError(f"expected a blob of floating-point numbers, received {x}.")
        return (x,)

    def forward(self, xp: Namespace, x: Array) -> Array:
        # exp of a negative number never overflows.
        rest = xp.log(1.0 + xp.exp(-xp.abs(self.sharpness * x)))
        return xp.maximum(x, xp.zeros_like(x)) + rest / self.sharpness

    def backward(self, xp: Namespace, dy: Arrays, x: Arrays, y: Arrays, wanted: Sequence[bool]) -> Gradients:
        return (dy[0] * (0.5 + 0.5 * xp.tanh(0.5 * self.sharpness * x[0])),)


class AcmeSoftplusLayer(ComputationLayer):
    """y = log(1 + exp(k x)) / k, element by element; the greater the sharpness k, the closer to a rectifier.

    Bottoms: one of floating-point numbers, of any shape. Tops: one of the same shape.
    """

    sharpness: float = 1.0

    def check(self) -> None:
        super().check()
        self.replace_field("sharpness", checks.number(self, "sharpness", self.sharpness, low=0.001, high=1000.0))

    def build(self, b: Builder, x: Value) -> tuple[Value, ...]:
        return b.call(AcmeSoftplus(self.sharpness), x)
