"""`DropoutLayer` and its op: random elements become zero while training."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from mocha_core.api import (
    Array,
    Arrays,
    Builder,
    Cell,
    ComputationLayer,
    ConfigurationError,
    Gradients,
    Namespace,
    Op,
    Phase,
    Spec,
    Value,
    checks,
    uniform,
)
from mocha_layers_std import fields, received


class Dropout(Op):
    """y = x * factor where u > ratio, else 0; factor is 1 / (1 - ratio) with `auto_scale`, and 1 without.

    u is `mocha_core.api.uniform` over x as (rows, features), from the op's seed and stream and the cells
    iteration and first_row: backward draws the same mask again. Inputs: x (N, ...), iteration, first_row.
    """

    name = "dropout"
    backward_reads = ("x1", "x2")
    differentiable = (0,)
    ratio: float
    auto_scale: bool
    seed: int
    stream: int

    def infer(self, x: Spec, iteration: Spec, first_row: Spec) -> tuple[Spec, ...]:
        received.rows(x)
        return (x,)

    def forward(self, xp: Namespace, x: Array, iteration: Array, first_row: Array) -> Array:
        return self._drop(xp, x, iteration, first_row)

    def backward(self, xp: Namespace, dy: Arrays, x: Arrays, y: Arrays, wanted: Sequence[bool]) -> Gradients:
        return self._drop(xp, dy[0], x[1], x[2]), None, None

    def _drop(self, xp: Namespace, x: Array, iteration: Array, first_row: Array) -> Array:
        rows, features = x.shape[0], prod(x.shape[1:])
        u = uniform(xp, self.seed, self.stream, iteration, first_row, rows, features)
        factor = 1 / (1 - self.ratio) if self.auto_scale else 1.0
        return xp.where(xp.reshape(u, x.shape) > self.ratio, x * factor, xp.zeros_like(x))


class DropoutLayer(ComputationLayer):
    """Sets elements to zero with probability `ratio` while training; otherwise passes its bottoms on.

    Bottoms: one or more, of any shape. Tops: as many, of the same shapes. Source: N. Srivastava et al.,
    "Dropout: a simple way to prevent neural networks from overfitting", JMLR 15, 2014.
    """

    ratio: float = 0.5
    """The share of elements that is dropped: at least 0 and less than 1."""
    auto_scale: bool = True
    """Whether kept elements are multiplied by 1 / (1 - ratio), so that the expectation stays the same."""

    def check(self) -> None:
        super().check()
        fields.one_top_each(self)
        self.replace_field("ratio", checks.number(self, "ratio", self.ratio))
        if not 0 <= self.ratio < 1:
            raise ConfigurationError(
                f"{self}: expected ratio to be at least 0 and less than 1, received {self.ratio!r}. It is the share "
                "that is dropped, not the one that is kept."
            )
        checks.instance(self, "auto_scale", self.auto_scale, bool, "True")

    def build(self, b: Builder, *bottoms: Value) -> tuple[Value, ...]:
        if b.phase is Phase.TEST or self.ratio == 0:
            return bottoms
        tops: list[Value] = []
        for number, bottom in enumerate(bottoms):
            op = Dropout(self.ratio, self.auto_scale, b.seed, b.stream(f"dropout{number}"))
            tops += b.call(op, bottom, b.cell(Cell.ITERATION), b.first_row(bottom))
        return tuple(tops)
