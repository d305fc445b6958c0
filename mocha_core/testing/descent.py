"""The kit's own solver, for nets under test that need one."""

from __future__ import annotations

from mocha_core.array_api import Array, Namespace
from mocha_core.builder import UpdateBuilder
from mocha_core.parameter import Parameter
from mocha_core.solver import Solver, UpdateOp
from mocha_core.value import Spec, Value


class DescentUpdate(UpdateOp):
    """v = momentum * v + rate * multiplier * g; w = w - v."""

    name = "mocha.testing.descent"
    updates = (0, 2)

    def infer(self, w: Spec, g: Spec, v: Spec, rate: Spec, momentum: Spec, status: Spec) -> tuple[Spec, ...]:
        return ()

    def forward(
        self, xp: Namespace, w: Array, g: Array, v: Array, rate: Array, momentum: Array, status: Array
    ) -> tuple[Array, Array]:
        velocity = momentum * v + rate * self.multiplier * self.regularized(xp, w, g)
        return xp.where(status == 0, self.constrained(xp, w - velocity), w), xp.where(status == 0, velocity, v)


class Descent(Solver):
    """Gradient descent with momentum."""

    slots = ("velocity",)

    def update(self, b: UpdateBuilder, parameter: Parameter, gradient: Value) -> None:
        op = DescentUpdate(parameter.multiplier, self.parameters.regu_coef, parameter.regularizer, parameter.constraint)
        cells = (b.cell(name) for name in ("learning_rate", "momentum", "status"))
        b.call(op, parameter.value, gradient, self.slot(parameter, "velocity"), *cells, layer=parameter.layer)
