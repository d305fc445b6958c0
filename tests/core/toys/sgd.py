"""Toy SGD: h = m h + lr mult (g + regu 2 w); w -= h."""

from __future__ import annotations

from mocha_core.train.solver import Hyperparameter, Solver
from mocha_core.train.update import UpdateOp


class Sgd(UpdateOp):
    name = "toy.sgd"
    slots = ("velocity",)
    cells = ("learning_rate", "momentum")

    def rule(self, xp, w, g, velocity, rate, momentum):
        velocity = momentum * velocity + rate * g
        return velocity, velocity


class SGD(Solver):
    update_op = Sgd
    hyperparameters = {"momentum": Hyperparameter(0.9, high=1.0)}
