"""The kit's own solver, for nets under test that need one."""

from __future__ import annotations

from typing import Any

from mocha_core.graph.array_api import Array, Namespace
from mocha_core.train.solver import Solver
from mocha_core.train.update import UpdateOp


class DescentUpdate(UpdateOp):
    """v = 0.9 * v + rate * g; w = w - v."""

    name = "mocha.testing.descent"
    slots = ("velocity",)

    def rule(self, xp: Namespace, w: Array, g: Array, *slots_and_cells: Any) -> tuple[Array, Array]:
        velocity, rate = slots_and_cells
        velocity = 0.9 * velocity + rate * g
        return velocity, velocity


class Descent(Solver):
    """Gradient descent with momentum."""

    update_op = DescentUpdate
