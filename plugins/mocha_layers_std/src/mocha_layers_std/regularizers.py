"""Regularizers: penalties on the size of parameters. The solver multiplies them by its `regu_coef`."""

from __future__ import annotations

from dataclasses import dataclass

from mocha_core.api import Array, Namespace, Regularizer, checks


@dataclass(frozen=True)
class NoRegu(Regularizer):
    """No penalty."""

    element_wise = True

    def gradient(self, xp: Namespace, w: Array) -> None:
        return None


@dataclass(frozen=True)
class _Weighted(Regularizer):
    coefficient: float
    element_wise = True

    def __post_init__(self) -> None:
        coefficient = checks.number(type(self).__name__, "coefficient", self.coefficient, low=0)
        object.__setattr__(self, "coefficient", coefficient)


@dataclass(frozen=True)
class L2Regu(_Weighted):
    """`coefficient * sum(w**2)`; its gradient is `2 * coefficient * w`."""

    def gradient(self, xp: Namespace, w: Array) -> Array:
        return 2 * self.coefficient * w


@dataclass(frozen=True)
class L1Regu(_Weighted):
    """`coefficient * sum(abs(w))`; its gradient is `coefficient * sign(w)`, zero at zero."""

    def gradient(self, xp: Namespace, w: Array) -> Array:
        return self.coefficient * xp.sign(w)
