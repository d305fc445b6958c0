"""`AcmeNesterov`: Nesterov's accelerated gradient, and its rule."""

from mocha_core.api import Array, Hyperparameter, Namespace, Solver, UpdateOp


class AcmeNesterovUpdate(UpdateOp):
    """v' = m v + lr g; w -= (1 + m) v' - m v."""

    name = "acme.nesterov"
    slots = ("velocity",)
    cells = ("learning_rate", "momentum")

    def rule(
        self, xp: Namespace, w: Array, g: Array, velocity: Array, learning_rate: Array, momentum: Array
    ) -> tuple[Array, Array]:
        new = momentum * velocity + learning_rate * g
        return (1.0 + momentum) * new - momentum * velocity, new


class AcmeNesterov(Solver):
    update_op = AcmeNesterovUpdate
    hyperparameters = {"momentum": Hyperparameter(0.9, high=1.0)}
