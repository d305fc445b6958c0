"""The core's own ops, which are part of no layer: they move, sum and check values."""

from __future__ import annotations

from collections.abc import Sequence

from mocha_core.graph.array_api import Array, Arrays, Gradients, Namespace
from mocha_core.graph.op import Op
from mocha_core.graph.value import Spec


class Objective(Op):
    """The weighted sum of the losses."""

    name = "mocha.objective"
    backward_reads = ()
    weights: tuple[float, ...]

    def infer(self, *losses: Spec) -> tuple[Spec, ...]:
        return (losses[0],)

    def forward(self, xp: Namespace, *losses: Array) -> Array:
        return sum(loss * weight for loss, weight in zip(losses, self.weights, strict=True))

    def backward(self, xp: Namespace, dy: Arrays, x: Arrays, y: Arrays, wanted: Sequence[bool]) -> Gradients:
        return tuple(dy[0] * w if want else None for w, want in zip(self.weights, wanted, strict=True))


def raise_status(xp: Namespace, status: Array, valid: Array, fault: int) -> Array:
    """The new status: `fault` where the input is not valid, unless an earlier op reported one."""
    failed = xp.logical_and(status == 0, xp.logical_not(valid))
    return xp.astype(xp.where(failed, xp.full_like(status, fault), status), status.dtype)


def all_finite(xp: Namespace, arrays: Sequence[Array]) -> Array:
    """Whether all elements of the arrays are finite.

    A traced update is computed in parts, and asks this of each part: it writes no number that is not finite, but may
    have written other parts.
    """
    if hasattr(xp, "all_finite"):
        return xp.all_finite(arrays)
    return xp.all(xp.stack([xp.all(xp.isfinite(array)) for array in arrays]))


class CheckFinite(Op):
    """Sets the status cell where a value is not finite."""

    name = "mocha.check_finite"
    updates = (1,)
    differentiable = ()
    fault: int

    def infer(self, x: Spec, status: Spec) -> tuple[Spec, ...]:
        return ()

    def forward(self, xp: Namespace, x: Array, status: Array) -> Array:
        return raise_status(xp, status, xp.all(xp.isfinite(x)), self.fault)


class Fill(Op):
    """Fills a value, which other steps then add to, with a constant. The operand is an input that the op updates."""

    name = "mocha.fill"
    updates = (0,)
    differentiable = ()
    number: float

    def infer(self, x: Spec) -> tuple[Spec, ...]:
        return ()

    def forward(self, xp: Namespace, x: Array) -> Array:
        return xp.full_like(x, self.number)


class Gather(Op):
    """Rows of a data set that stays on the device, chosen by a cell of row numbers."""

    name = "mocha.gather"
    differentiable = ()

    def infer(self, table: Spec, rows: Spec) -> tuple[Spec, ...]:
        return (Spec((rows.shape[0], *table.shape[1:]), table.dtype),)

    def forward(self, xp: Namespace, table: Array, rows: Array) -> Array:
        return xp.take(table, rows, axis=0)
