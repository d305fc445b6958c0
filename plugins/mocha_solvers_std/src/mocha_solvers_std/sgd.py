"""`SGD`: stochastic gradient descent with momentum, and the op that updates one parameter."""

from __future__ import annotations

from typing import ClassVar

from mocha_core.api import Array, Hyperparameter, Namespace, Solver, UpdateOp


class SGDUpdate(UpdateOp):
    """h = m * h + lr * multiplier * (g + regu_coef * the regularizer's gradient); w = project(w - h).

    The velocity h contains the learning rate, as Caffe's and Mocha's does.
    """

    name = "sgd"
    slots = ("velocity",)
    cells = ("learning_rate", "momentum")

    def rule(
        self, xp: Namespace, w: Array, g: Array, velocity: Array, learning_rate: Array, momentum: Array
    ) -> tuple[Array, Array]:
        velocity = momentum * velocity + learning_rate * g
        return velocity, velocity


class SGD(Solver):
    """Stochastic gradient descent with momentum.

    The update with number i uses the learning rate and the momentum that the policies have for i.
    `SolverParameters(momentum=...)` takes a policy or a number from 0 to 1; by default, 0.9.
    """

    update_op = SGDUpdate
    hyperparameters: ClassVar = {"momentum": Hyperparameter(0.9, high=1.0)}
