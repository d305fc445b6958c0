"""The kit's own solver, for nets under test that need one."""

from __future__ import annotations

from typing import Any, ClassVar

from mocha_core.graph.array_api import Array, Namespace
from mocha_core.train.solver import Hyperparameter, Solver
from mocha_core.train.update import UpdateOp


class DescentUpdate(UpdateOp):
    """v = momentum * v + rate * g; w = w - v."""

    name = "mocha.testing.descent"
    slots = ("velocity",)
    cells = ("learning_rate", "momentum")

    def rule(self, xp: Namespace, w: Array, g: Array, *slots_and_cells: Any) -> tuple[Array, Array]:
        velocity, rate, momentum = slots_and_cells
        velocity = momentum * velocity + rate * g
        return velocity, velocity


class Descent(Solver):
    """Gradient descent with momentum."""

    update_op = DescentUpdate
    hyperparameters: ClassVar = {"momentum": Hyperparameter(0.9, high=1.0)}
