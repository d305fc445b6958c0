"""A third party's solver: a rule of its own, and everything else inherited."""

import numpy as np
from acme_solver.nesterov import AcmeNesterov
from lenet import lenet, train

import mocha_core as mocha
from mocha_core import solvers
from mocha_core.testing import SolverTests, assert_close


class TestAcmeNesterov(SolverTests):
    solver = AcmeNesterov

    def expected(self, w, gradients, learning_rate, momentum):
        """Sutskever's form: the gradient is looked up where the momentum leads; here from the point looked from."""
        v = np.zeros_like(w)
        for gradient, rate, m in zip(gradients, learning_rate, momentum):
            before, v = v, m * v - rate * gradient
            w = w - m * before + (1 + m) * v
            yield w


def test_it_is_in_the_namespace():
    assert solvers.AcmeNesterov is AcmeNesterov


def test_lenet_learns_with_it_alike_on_two_backends(digits):
    def run(backend):
        with mocha.System(backend, dtype="float64", seed=1) as system:
            net = lenet(system, digits, batch_size=16)
            return train(net, 6, AcmeNesterov)

    (objectives, _), (expected, _) = run("acme"), run("cpu")
    assert_close("objectives", objectives[1:], expected[1:], 1e-9)
    with mocha.System("cpu", seed=1) as system:
        net = lenet(system, digits)
        objectives, _ = train(net, 100, AcmeNesterov)
    assert objectives[-10:].mean() < 0.5 * objectives[1:11].mean()
