"""The solvers of the tree, and the kit's own, in the kit's tests."""

from mocha_core import solvers
from mocha_core.testing import SolverTests
from mocha_core.testing.descent import Descent
from mocha_core.train.solver import Solver
from mocha_core.train.update import UpdateOp


class Velocity:
    def expected(self, w, gradients, learning_rate, momentum):
        velocity = 0.0
        for g, rate, m in zip(gradients, learning_rate, momentum):
            velocity = m * velocity + rate * g
            w = w - velocity
            yield w


class TestSGD(Velocity, SolverTests):
    solver = solvers.SGD


class TestDescent(Velocity, SolverTests):
    solver = Descent


class SteepestUpdate(UpdateOp):
    name = "tests.steepest"

    def rule(self, xp, w, g, rate):
        return (rate * g,)


class Steepest(Solver):
    update_op = SteepestUpdate


class TestSolverWithoutHyperparameters(SolverTests):
    solver = Steepest

    def expected(self, w, gradients, learning_rate):
        for g, rate in zip(gradients, learning_rate):
            w = w - rate * g
            yield w
