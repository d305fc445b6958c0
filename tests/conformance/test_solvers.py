"""The solvers of the tree, and the kit's own, in the kit's tests."""

from mocha_core import solvers
from mocha_core.testing import SolverTests
from mocha_core.testing.descent import Descent


class Velocity:
    def expected(self, w, gradients, learning_rates, momenta):
        velocity = 0.0
        for g, rate, momentum in zip(gradients, learning_rates, momenta):
            velocity = momentum * velocity + rate * g
            w = w - velocity
            yield w


class TestSGD(Velocity, SolverTests):
    solver = solvers.SGD


class TestDescent(Velocity, SolverTests):
    solver = Descent
