"""Ops that clip gradients before the updates: all of them together by their norm, or each element by its value."""

from __future__ import annotations

from typing import Any

from mocha_core.api import Array, Namespace, Op, Spec


class Clip(Op):
    """Changes `count` gradients in place.

    Attributes:
        limit: the limit, above 0.
        count: the number of gradients.
    """

    differentiable = ()
    limit: float
    count: int

    @property
    def updates(self) -> tuple[int, ...]:  # type: ignore[override]
        return tuple(range(self.count))

    def infer(self, *gradients: Spec) -> tuple[Spec, ...]:
        return ()


class ClipNorm(Clip):
    """Scales all gradients by limit / norm if the norm, the root of the sum of the squares of all elements, exceeds
    the limit, as Caffe's `clip_gradients`. If the norm is not finite, the gradients stay as they are.

    Output: the norm before scaling, float64 without axes, summed in float64.
    """

    name = "clip_norm"

    def infer(self, *gradients: Spec) -> tuple[Spec, ...]:
        return (Spec((), "float64"),)

    def forward(self, xp: Namespace, *gradients: Array) -> tuple[Array, ...]:
        squares: Any = sum(xp.sum(xp.square(xp.astype(g, xp.float64))) for g in gradients)
        norm = xp.sqrt(squares)
        ratio = self.limit / xp.maximum(norm, xp.full_like(norm, self.limit))
        scale = xp.where(xp.isfinite(norm), ratio, xp.full_like(norm, 1.0))
        return norm, *(g * xp.astype(scale, g.dtype) for g in gradients)


class ClipValue(Clip):
    """Limits each element of all gradients to [-limit, limit]. Elements that are not finite stay as they are."""

    name = "clip_value"

    def forward(self, xp: Namespace, *gradients: Array) -> tuple[Array, ...]:
        return tuple(self._clipped(xp, g) for g in gradients)

    def _clipped(self, xp: Namespace, g: Array) -> Array:
        top = xp.full_like(g, self.limit)
        return xp.where(xp.isfinite(g), xp.minimum(xp.maximum(g, -top), top), g)
