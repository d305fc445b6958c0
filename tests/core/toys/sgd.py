"""Toy SGD: h = m h + lr mult (g + regu 2 w); w -= h."""

from __future__ import annotations

from mocha_core.solver import Solver, UpdateOp


class Sgd(UpdateOp):
    name = "toy.sgd"
    updates = (0, 2)

    def infer(self, w, g, h, rate, momentum):
        return ()

    def forward(self, xp, w, g, h, rate, momentum):
        h = momentum * h + rate * self.multiplier * self.regularized(xp, w, g)
        return self.constrained(xp, w - h), h


class SGD(Solver):
    slots = ("velocity",)

    def update(self, b, parameter, gradient):
        op = Sgd(parameter.multiplier, self.parameters.regu_coef, parameter.regularizer, parameter.constraint)
        memory = self.slot(parameter, "velocity")
        b.call(
            op, parameter.value, gradient, memory, b.cell("learning_rate"), b.cell("momentum"), layer=parameter.layer
        )
