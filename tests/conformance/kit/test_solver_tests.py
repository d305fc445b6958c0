"""`SolverTests` notices what it is for: each of these solvers has one fault."""

import numpy as np
import pytest

from mocha_core import hookimpl
from mocha_core.compile.kernel import Reference
from mocha_core.errors import ConfigurationError, NonFiniteError
from mocha_core.testing import SolverTests
from mocha_core.testing.kit_solver import Descent, DescentUpdate
from mocha_core.train.solver import Solver
from mocha_core.train.update import UpdateOp


def suite_of(solver_under_test):
    class Suite(SolverTests):
        solver = solver_under_test

        def expected(self, w, gradients, learning_rate):
            velocity = 0.0
            for g, rate in zip(gradients, learning_rate):
                velocity = 0.9 * velocity + rate * g
                w = w - velocity
                yield w

    return Suite()


def solver_with(op):
    class Faulty(Descent):
        update_op = op

    return Faulty


class Uphill(DescentUpdate):
    name = "kit.uphill"

    def rule(self, xp, w, g, *more):
        step, velocity = super().rule(xp, w, g, *more)
        return -step, velocity


class Forgetful(DescentUpdate):
    name = "kit.forgetful"

    def rule(self, xp, w, g, *more):
        step, velocity = super().rule(xp, w, g, *more)
        return step, 0 * velocity


class Unregularized(DescentUpdate):
    name = "kit.unregularized"

    def regularized(self, xp, w, g):
        return g


class Unconstrained(DescentUpdate):
    name = "kit.unconstrained"

    def constrained(self, xp, w):
        return w


class OwnRate(DescentUpdate):
    """Knows nothing of multipliers, as who writes `forward` rather than `rule`."""

    name = "kit.own_rate"

    def forward(self, xp, w, g, velocity, rate, status):
        velocity_ = 0.9 * velocity + rate * self.regularized(xp, w, g)
        w_ = self.constrained(xp, w - velocity_)
        return xp.where(status == 0, w_, w), xp.where(status == 0, velocity_, velocity), status


class Careless(DescentUpdate):
    """Updates although the minibatch is invalid."""

    name = "kit.careless"

    def forward(self, xp, w, g, velocity, rate, status):
        new, velocity, _ = super().forward(xp, w, g, velocity, rate, 0 * status)
        return new, velocity, status


class FromZero(Descent):
    """Its schedule always begins anew."""

    def schedule(self, first, n):
        return super().schedule(0, n)


class Counting(Descent):
    """Keeps in an attribute what belongs into a slot."""

    count = 0

    def schedule(self, first, n):
        self.count += n
        cells = super().schedule(first, n)
        return cells | {"learning_rate": cells["learning_rate"] / self.count}


class Hoarder(Descent):
    """One memory for all nets."""

    def memories(self, net):
        return {f"{n}/{p.key}": v for (n, p), v in self._slots.items()}


class NoOp(UpdateOp):
    name = "kit.plain"
    slots = ()
    cells = ("learning_rate",)

    def rule(self, xp, w, g, rate):
        return (rate * g,)


class Plain(Solver):
    update_op = NoOp


@pytest.mark.parametrize(
    ("solver", "check"),
    [
        (solver_with(Uphill), lambda suite: suite.test_it_learns("reference")),
        (solver_with(Uphill), lambda suite: suite.test_expected("reference", "float64")),
        (solver_with(Forgetful), lambda suite: suite.test_expected("reference", "float64")),
        (solver_with(Unregularized), lambda suite: suite.test_regularizer("reference")),
        (solver_with(Unconstrained), lambda suite: suite.test_constraint("reference")),
        (solver_with(OwnRate), lambda suite: suite.test_multiplier("reference")),
        (
            solver_with(Careless),
            lambda suite: suite.test_an_invalid_minibatch_updates_nothing("plain", "reference", "float64"),
        ),
        (FromZero, lambda suite: suite.test_the_schedule_has_a_value_for_each_iteration()),
        (FromZero, lambda suite: suite.test_coffee_breaks_change_nothing("reference")),
        (Counting, lambda suite: suite.test_resuming_is_exact("reference", "float64")),
        (Hoarder, lambda suite: suite.test_one_solver_and_two_nets("reference")),
    ],
)
def test_one_fault_each(solver, check):
    check(suite_of(Descent))
    with pytest.raises((AssertionError, NonFiniteError)):
        check(suite_of(solver))


def test_a_solver_without_slots_and_momentum():
    """Every test passes or skips: nothing takes a slot or a cell of its own for granted."""

    class Suite(SolverTests):
        solver = Plain

        def expected(self, w, gradients, learning_rate):
            for g, rate in zip(gradients, learning_rate):
                yield (w := w - rate * g)

    suite = Suite()
    suite.test_expected("reference", "float64")
    suite.test_resuming_is_exact("reference", "float64")
    suite.test_slots_that_do_not_fit_are_refused()
    suite.test_one_solver_and_two_nets("reference")
    suite.test_update_op("everything", "strict", "float32")
    suite.test_it_learns("reference")


class Kernels:
    @hookimpl
    def mocha_register_kernels(self, kernels):
        kernels.add("mocha.testing.descent", "reference", build)


class Hasty(Reference):
    """Takes half a step too much."""

    def forward(self, ins, outs, add):
        run = super().forward(ins, outs, add)

        def hasty():
            before = np.array(outs[0])
            run()
            outs[0][...] += 0.5 * (outs[0] - before)

        return hasty


def build(backend, call):
    return Hasty(backend, call)


def test_kernels_of_the_update_op_are_tested(register_plugin):
    suite_of(Descent).test_update_op("plain", "reference", "float64")
    register_plugin(Kernels(), "acme-hasty")
    with pytest.raises(AssertionError, match="of plugin 'acme-hasty': result 0 of forward"):
        suite_of(Descent).test_update_op("plain", "reference", "float64")


def test_which_solver_has_to_be_said():
    with pytest.raises(ConfigurationError, match="solver = AcmeSolver"):

        class TestNothing(SolverTests):
            pass
