"""Regularizers: penalties on the size of parameters. The solver multiplies them by its `regu_coef`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mocha_core.api import Array, Namespace, Regularizer, checks

if TYPE_CHECKING:
    from mocha_core.api import UpdateOp


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


def penalty(op: UpdateOp) -> tuple[float, float] | None:
    """What kernels of updates compute themselves: the factors of w (decay) and of sign(w) (sparsity) in the gradient.

    None: the op has a constraint, or a regularizer that is not one of these; its reference serves it.
    """
    regularizer, strength = op.regularizer, op.regu_coef * getattr(op.regularizer, "coefficient", 0.0)
    if op.constraint is not None or type(regularizer) not in (type(None), NoRegu, L1Regu, L2Regu):
        return None
    return (2 * strength if type(regularizer) is L2Regu else 0.0), (strength if type(regularizer) is L1Regu else 0.0)
