"""`UpdateOp`: the op that updates one parameter. A solver's author writes only its rule."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

from mocha_core.describe.parameter import Constraint, Regularizer
from mocha_core.errors import ShapeError
from mocha_core.graph.array_api import Array, Namespace
from mocha_core.graph.op import Op
from mocha_core.graph.structural import all_finite, raise_status
from mocha_core.graph.value import Spec


class UpdateOp(Op):
    """Updates a parameter w by its gradient g. Inputs, in this order: w, g, the slots, the cells, the status.

    It regularizes gradients and projects new parameters on their constraint. If the status holds a fault, it changes
    nothing. If `fault` is given and a new value is not finite, the status becomes `fault`, and no number that is not
    finite is written; a kernel may have written some of the finite numbers.

    Attributes:
        slots: names of the solver's slots for each parameter; they have its shape and are zero at first.
        cells: names of the numbers that the rule reads, such as ("learning_rate", "momentum"); each of shape ().
        multiplier: a factor for the learning rate.
        regu_coef: a factor for the regularizer.
        fault: the fault code of this update; 0: new values are not checked.
    """

    differentiable = ()
    slots: ClassVar[tuple[str, ...]] = ()
    cells: ClassVar[tuple[str, ...]] = ("learning_rate",)
    multiplier: float = 1.0
    regu_coef: float = 0.0
    regularizer: Regularizer | None = None
    constraint: Constraint | None = None
    fault: int = 0

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        n = 2 + len(cls.slots)
        cls.updates = (0, *range(2, n), n + len(cls.cells))

    @abstractmethod
    def rule(self, xp: Namespace, w: Array, g: Array, *slots_and_cells: Any) -> tuple[Array, ...]:
        """Compute the array to subtract from w, and the new slots. Pure, on the array API.

        `g` is regularized, and a cell named "learning_rate" is already multiplied by `multiplier`.
        """

    def infer(self, *x: Spec) -> tuple[Spec, ...]:
        return ()

    def forward(self, xp: Namespace, w: Array, g: Array, *more: Array) -> tuple[Array, ...]:
        slots, cells, status = more[: len(self.slots)], more[len(self.slots) : -1], more[-1]
        scaled = (
            cell * self.multiplier if name == "learning_rate" else cell
            for name, cell in zip(self.cells, cells, strict=True)
        )
        old = (w, *slots)
        found = self.rule(xp, w, self.regularized(xp, w, g), *slots, *scaled)
        shapes = [getattr(x, "shape", None) for x in found] if isinstance(found, tuple) else type(found).__name__
        if shapes != [x.shape for x in old]:
            wanted = ", ".join(("the step", *self.slots))
            raise ShapeError(
                f"The rule of op '{self.name}' returned {shapes}, expected a tuple of {wanted}, each {w.shape}."
            )
        step, *new_slots = found
        new = (self.constrained(xp, w - step), *new_slots)
        if self.fault:
            status = raise_status(xp, status, all_finite(xp, new), self.fault)
        return *(xp.where(status == 0, n, o) for n, o in zip(new, old, strict=True)), status

    def regularized(self, xp: Namespace, w: Array, g: Array) -> Array:
        """The gradient of the objective plus regu_coef times the regularizer."""
        penalty = None if self.regularizer is None else self.regularizer.gradient(xp, w)
        return g if penalty is None or self.regu_coef == 0 else g + self.regu_coef * penalty

    def constrained(self, xp: Namespace, w: Array) -> Array:
        """The new parameter, projected."""
        return w if self.constraint is None else self.constraint.project(xp, w)
