"""SGD against its formula in plain loops, and its op on the strict array API."""

from dataclasses import dataclass

import array_api_strict
import numpy as np
import pytest
from mocha_solvers_std.sgd import SGDUpdate

import mocha_core as mocha
from mocha_core.describe.parameter import Constraint, Regularizer
from mocha_core.solvers import SGD, LRPolicy, MomPolicy


@dataclass(frozen=True)
class Squares(Regularizer):
    coefficient: float

    def gradient(self, xp, w):
        return 2 * self.coefficient * w


class Nothing(Regularizer):
    def gradient(self, xp, w):
        return None


@dataclass(frozen=True)
class AtMost(Constraint):
    limit: float

    def project(self, xp, w):
        return xp.where(w > self.limit, xp.full_like(w, self.limit), w)


def one_element(w, g, h, lr, m, multiplier=1.0, decay=0.0, limit=float("inf")):
    """The update of a single number, from the formula."""
    h = m * h + lr * multiplier * (g + decay * w)
    return min(w - h, limit), h


@pytest.mark.parametrize("xp", [np, array_api_strict])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("attributes", "formula"),
    [
        ((1.0, 0.5, None, None), {}),
        ((1.0, 0.5, Nothing(), None), {}),
        ((2.0, 0.0, Squares(3.0), None), {"multiplier": 2.0}),
        ((2.0, 0.01, Squares(3.0), None), {"multiplier": 2.0, "decay": 2 * 3.0 * 0.01}),
        ((0.5, 0.1, Squares(1.0), AtMost(0.25)), {"multiplier": 0.5, "decay": 0.2, "limit": 0.25}),
    ],
)
def test_the_op_is_its_formula(xp, dtype, attributes, formula):
    random = np.random.default_rng(0)
    w, g, h = (random.standard_normal((3, 4)).astype(dtype) for _ in range(3))
    cells = (xp.asarray(value, dtype=getattr(xp, dtype)) for value in (0.3, 0.8))
    status = xp.asarray(0, dtype=xp.int32)
    new_w, new_h, new_status = SGDUpdate(*attributes).forward(xp, *map(xp.asarray, (w, g, h)), *cells, status)
    expected = [
        [one_element(*(float(a[i, j]) for a in (w, g, h)), 0.3, 0.8, **formula) for j in range(4)] for i in range(3)
    ]
    assert (new_w.dtype, new_h.dtype, new_status.dtype) == (getattr(xp, dtype), getattr(xp, dtype), xp.int32)
    assert int(new_status) == 0
    rtol = 1e-5 if dtype == "float32" else 1e-13
    np.testing.assert_allclose(np.asarray(new_w), np.asarray(expected)[..., 0], rtol=rtol, atol=rtol)
    np.testing.assert_allclose(np.asarray(new_h), np.asarray(expected)[..., 1], rtol=rtol, atol=rtol)


def test_an_invalid_minibatch_updates_nothing():
    w, g, h = (np.full((2,), value) for value in (1.0, 2.0, 3.0))
    op = SGDUpdate(1.0, 0.1, Squares(1.0), AtMost(0.5))
    new_w, new_h, status = op.forward(np, w, g, h, np.asarray(0.1), np.asarray(0.9), np.asarray(4, np.int32))
    assert new_w.tolist() == [1.0, 1.0]
    assert new_h.tolist() == [3.0, 3.0]
    assert int(status) == 4


@pytest.mark.parametrize("accumulate", [1, 3])
def test_training_is_the_formula_iteration_by_iteration(system, toy, accumulate):
    part = toy.regression(system, rows=10, batch=4, regularizer=Squares(1.0), constraint=AtMost(0.3), multiplier=2.0)
    w = part.net.parameters["fc"]["weight"].numpy()
    h = np.zeros_like(w)
    solver = SGD(
        toy.parameters(
            7,
            lr_policy=LRPolicy.Inv(0.1, 0.3, 0.75),
            momentum=MomPolicy.Linear(0.2, 0.1, 2, 0.5),
            regu_coef=0.05,
            accumulate=accumulate,
        )
    )
    solver.solve(part.net)
    row = 0
    for k in range(7):
        gradient, objective = np.zeros_like(w), 0.0
        for _ in range(accumulate):
            for _ in range(4):
                x, t = part.x[row % 10], part.t[row % 10]
                row += 1
                difference = w @ x - t
                objective += difference @ difference / 2 / 4 / accumulate
                gradient += np.outer(difference, x) / 4 / accumulate
        lr, m = 0.1 * (1 + 0.3 * k) ** -0.75, min(0.2 + k // 2 * 0.1, 0.5)
        for index in np.ndindex(w.shape):
            w[index], h[index] = one_element(
                w[index], gradient[index], h[index], lr, m, multiplier=2.0, decay=0.1, limit=0.3
            )
    np.testing.assert_allclose(part.net.parameters["fc"]["weight"].numpy(), w, rtol=1e-12)
    assert solver.state.iteration == 7
    assert solver.state.objective == pytest.approx(objective, rel=1e-12)
    assert (solver.state.learning_rate, solver.state.cells["momentum"]) == (lr, m)
    assert (w == 0.3).any(), "the constraint had no part in this test"


def test_float32_trains_in_float32(toy):
    with mocha.System(toy.NumPy(), seed=3) as system:
        part = toy.regression(system)
        SGD(toy.parameters(3)).solve(part.net)
        assert part.net.parameters["fc"]["weight"].numpy().dtype == np.float32


def test_solving_again_continues_with_the_same_velocity(toy):
    weights = []
    for stops in ([6], [2, 6]):
        with mocha.System(toy.NumPy(), dtype="float64", seed=3) as system:
            part = toy.regression(system)
            solver = SGD(toy.parameters(stops[0]))
            for stop in stops:
                solver.parameters = toy.parameters(stop)
                solver.solve(part.net)
            weights.append(part.net.parameters["fc"]["weight"].numpy())
    assert (weights[0] == weights[1]).all()
