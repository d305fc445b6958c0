"""`SGD`: stochastic gradient descent with momentum, and the op that updates one parameter."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mocha_core.array_api import Array, Namespace
from mocha_core.solver import Solver, UpdateOp
from mocha_core.value import Spec

if TYPE_CHECKING:
    from mocha_core.builder import UpdateBuilder
    from mocha_core.parameter import Parameter
    from mocha_core.value import Value


class SGDUpdate(UpdateOp):
    """h = m * h + lr * multiplier * (g + regu_coef * the regularizer's gradient); w = project(w - h).

    Inputs: parameter w, its gradient g and velocity h, all of one shape; cells learning_rate, momentum and
    status. Updates w and h, unless the status says that the minibatch is invalid. The velocity contains the
    learning rate, as Caffe's and Mocha's does.
    """

    name = "sgd"
    updates = (0, 2)

    def infer(self, w: Spec, g: Spec, h: Spec, learning_rate: Spec, momentum: Spec, status: Spec) -> tuple[Spec, ...]:
        return ()

    def forward(
        self, xp: Namespace, w: Array, g: Array, h: Array, learning_rate: Array, momentum: Array, status: Array
    ) -> tuple[Array, Array]:
        velocity = momentum * h + learning_rate * self.multiplier * self.regularized(xp, w, g)
        valid = status == 0
        return xp.where(valid, self.constrained(xp, w - velocity), w), xp.where(valid, velocity, h)


class SGD(Solver):
    """Stochastic gradient descent with momentum.

    The update with number i uses the learning rate and the momentum that the policies have for i.
    """

    slots = ("velocity",)

    def update(self, b: UpdateBuilder, parameter: Parameter, gradient: Value) -> None:
        op = SGDUpdate(parameter.multiplier, self.parameters.regu_coef, parameter.regularizer, parameter.constraint)
        velocity = self.slot(parameter, "velocity")
        cells = (b.cell(name) for name in ("learning_rate", "momentum", "status"))
        b.call(op, parameter.value, gradient, velocity, *cells, layer=parameter.layer)
