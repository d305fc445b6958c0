"""The solvers of the tree, and the kit's own, in the kit's tests."""

from mocha_core import solvers
from mocha_core.testing import SolverTests
from mocha_core.testing.kit_solver import Descent


class TestSGD(SolverTests):
    solver = solvers.SGD

    def expected(self, w, gradients, learning_rate, momentum):
        velocity = 0.0
        for g, rate, m in zip(gradients, learning_rate, momentum):
            velocity = m * velocity + rate * g
            w = w - velocity
            yield w


class TestDescent(SolverTests):
    """Without a hyperparameter of its own."""

    solver = Descent

    def expected(self, w, gradients, learning_rate):
        velocity = 0.0
        for g, rate in zip(gradients, learning_rate):
            velocity = 0.9 * velocity + rate * g
            w = w - velocity
            yield w
