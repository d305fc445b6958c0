"""The kit looks at states: each of these layers is wrong in nothing that its tops and gradients show at once."""

from functools import partial

import numpy as np
import pytest
from faults.normalize import (
    CarryLayer,
    CountsTwice,
    FollowsAllRows,
    GradientOfAllRows,
    NeverMoves,
    Normalize,
    NormalizeLayer,
    normalize_layer,
)

from mocha_core.compile.kernel import Reference
from mocha_core.graph.plan import Phase
from mocha_core.testing import LayerCase, LayerTests, OpCase, OpTests, check_layer
from mocha_core.testing.backends import ReferenceBackend
from mocha_core.testing.inputs import distinct
from mocha_core.testing.layer_checks import check_reference, check_valid_rows
from mocha_core.testing.op_case import check_op_gradients


class TestNormalizeLayer(LayerTests):
    layer = NormalizeLayer(bottoms=["x"], tops=["y"])
    bottoms = ((4, 3),)

    def expected(self, layer, bottoms, parameters, phase, states):
        (x,) = bottoms
        if phase is Phase.TEST:
            return {"y": x - states["mean"], "y.mean": states["mean"], "y.count": 0}
        mean = 0.9 * states["mean"] + 0.1 * x.mean(axis=0)
        return {"y": x - x.mean(axis=0), "y.mean": mean, "y.count": 1}


class TestNormalize(OpTests):
    cases = {
        f"{rows} of 4 rows": OpCase(
            Normalize(), [distinct((4, 3)), np.int32(rows), distinct((3,), 1), np.int64(7)], valid_rows=rows
        )
        for rows in (1, 3, 4)
    }


class TestNormalizeOfSomeRows(OpTests):
    op, inputs, valid_rows = Normalize(), [distinct((4, 3)), np.int32(2), distinct((3,), 1), np.int64(7)], 2


class TestCarryLayer(LayerTests):
    layer = CarryLayer(bottoms=["x"], tops=["y"])
    bottoms = ((4, 3),)

    def expected(self, layer, bottoms, parameters, phase, states):
        y = bottoms[0] + states["carried"]
        return {"y": y, "y.carried": y if phase is Phase.TRAIN else states["carried"]}


@pytest.mark.parametrize(
    ("op", "message"), [(NeverMoves, r"'y\.mean': relative error"), (CountsTwice, r"'y\.count': relative error")]
)
def test_expectations_of_states(op, message):
    """A layer that never moves its mean computes the same tops and gradients in each phase."""

    class TestFaulty(TestNormalizeLayer):
        layer = normalize_layer(op)

    TestFaulty().test_expected("layer", Phase.TEST, "reference", "float64")
    with pytest.raises(AssertionError, match=message):
        TestFaulty().test_expected("layer", Phase.TRAIN, "reference", "float64")


@pytest.mark.parametrize("backend", ["reference", "strict"])
def test_sound_layers_pass(backend):
    check_layer(NormalizeLayer(bottoms=["x"], tops=["y"]), (4, 3), backend=backend, phase=Phase.TRAIN)
    check_layer(CarryLayer(bottoms=["x"], tops=["y"]), (4, 3), backend=backend)


def test_states_that_follow_rows_that_do_not_count():
    case = LayerCase(normalize_layer(FollowsAllRows), [distinct((4, 3))])
    with pytest.raises(AssertionError, match=r"'y\.mean' with 2 valid rows"):
        check_valid_rows(case)
    mixes = LayerCase(CarryLayer(mixes=True, bottoms=["x"], tops=["y"]), [distinct((4, 3))])
    with pytest.raises(AssertionError, match=r"'y\.carried' with 2 valid rows"):
        check_valid_rows(mixes)


def test_op_and_layer_agree_about_rows_that_do_not_count():
    """What comes from them has no gradient, and what goes to them is zero."""
    inputs = [distinct((4, 3)), np.int32(2), distinct((3,), 1), np.int64(7)]
    check_valid_rows(LayerCase(normalize_layer(), [distinct((4, 3))]))
    check_op_gradients(OpCase(Normalize(), inputs, valid_rows=2))
    with pytest.raises(AssertionError, match=r"gradient of input 0 of op 'kit\.normalize'"):
        check_op_gradients(OpCase(GradientOfAllRows(), inputs, valid_rows=2))
    with pytest.raises(AssertionError, match="'d x' is not zero in rows that do not count"):
        check_valid_rows(LayerCase(normalize_layer(GradientOfAllRows), [distinct((4, 3))]))


class Forgetful(Reference):
    """The reference's results, but for the states."""

    def forward(self, ins, outs, add):
        def run():
            for out, result in zip(outs[:2], self.call.op.forward(self.xp, *ins)):
                out[...] = result

        return run


class ForgetfulBackend(ReferenceBackend):
    name = "forgetful"

    def choose(self, steps, selector):
        chosen = super().choose(steps, selector)
        return {c: Forgetful(self, c) if c.op.name == Normalize.name else kernel for c, kernel in chosen.items()}


def test_a_kernel_that_updates_no_state():
    case = LayerCase(normalize_layer(), [distinct((4, 3))], backend=ForgetfulBackend)
    with pytest.raises(AssertionError, match=r"'y\.mean' in phase train, against the reference"):
        check_reference(case)


def test_runs_of_a_trial_begin_alike():
    """Its states are put back, so that a second run computes the same, and numeric gradients move nothing."""
    run = partial(LayerCase(CarryLayer(bottoms=["x"], tops=["y"]), [distinct((4, 3))]).trial)
    with run() as trial:
        before = trial.states["y.carried"].numpy()
        first, second = trial.run(), trial.run()
        trial.differences("d x")
        np.testing.assert_array_equal(first["y"], second["y"])
        np.testing.assert_array_equal(first["y.carried"], second["y"])
        np.testing.assert_array_equal(trial.states["y.carried"].numpy(), before)
