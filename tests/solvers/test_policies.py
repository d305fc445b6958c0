"""Learning-rate and momentum policies against literal values."""

import pytest

from mocha_core.errors import ConfigurationError, UnknownNameError
from mocha_core.solvers import LRPolicy, MomPolicy
from mocha_core.train.solver import SolverParameters, evaluate


@pytest.mark.parametrize(
    ("policy", "iteration", "value"),
    [
        (LRPolicy.Fixed(0.01), 0, 0.01),
        (LRPolicy.Fixed(0.01), 12345, 0.01),
        (LRPolicy.Inv(0.01, 0.0001, 0.75), 0, 0.01),
        (LRPolicy.Inv(0.01, 0.0001, 0.75), 1, 0.009999250065618985),
        (LRPolicy.Inv(0.01, 0.0001, 0.75), 100, 0.009925650290240803),
        (LRPolicy.Inv(0.01, 0.0001, 0.75), 1000, 0.009310124446222227),
        (LRPolicy.Inv(0.01, 0.0001, 0.75), 5000, 0.007377879464668811),
        (LRPolicy.Inv(0.01, 0.0001, 0.75), 10000, 0.005946035575013605),
        (LRPolicy.Step(0.1, 0.998, 600), 599, 0.1),
        (LRPolicy.Step(0.1, 0.998, 600), 600, 0.0998),
        (LRPolicy.Step(0.1, 0.998, 600), 6000, 0.09801790433519494),
        (LRPolicy.Exp(0.5, 0.5), 0, 0.5),
        (LRPolicy.Exp(0.5, 0.5), 3, 0.0625),
        (MomPolicy.Fixed(0.9), 7, 0.9),
        (MomPolicy.Linear(0.5, 0.0008, 600, 0.9), 0, 0.5),
        (MomPolicy.Linear(0.5, 0.0008, 600, 0.9), 599, 0.5),
        (MomPolicy.Linear(0.5, 0.0008, 600, 0.9), 600, 0.5008),
        (MomPolicy.Linear(0.5, 0.0008, 600, 0.9), 300000, 0.9),
        (MomPolicy.Step(0.5, 1.25, 10, 0.9), 9, 0.5),
        (MomPolicy.Step(0.5, 1.25, 10, 0.9), 10, 0.625),
        (MomPolicy.Step(0.5, 1.25, 10, 0.9), 30, 0.9),
        (MomPolicy.Step(0.5, 1.25, 10, 0.9), 10**6, 0.9),
    ],
)
def test_value(policy, iteration, value):
    assert policy(iteration) == pytest.approx(value, rel=1e-15, abs=0)


@pytest.mark.parametrize("group", [LRPolicy, MomPolicy])
def test_staged_advances_at_cumulative_boundaries_and_stays_in_the_last_stage(group):
    policy = group.Staged((3, group.Fixed(0.1)), (2, 0.2), (1, group.Fixed(0.3)))
    assert [policy(i) for i in range(8)] == [0.1, 0.1, 0.1, 0.2, 0.2, 0.3, 0.3, 0.3]
    assert [policy.stage(i) for i in range(8)] == [1, 1, 1, 2, 2, 3, 3, 3]


def test_stages_see_the_global_iteration():
    inner = LRPolicy.Inv(0.01, 0.0001, 0.75)
    policy = LRPolicy.Staged((60000, 0.001), (5000, inner))
    assert policy(59999) == 0.001
    assert policy(60000) == inner(60000)


def test_policies_say_what_they_are():
    policy = LRPolicy.Staged((60000, LRPolicy.Fixed(0.001)), (5000, LRPolicy.Exp(0.1, 0.5)))
    shown = "LRPolicy.Staged((60000, LRPolicy.Fixed(base_lr=0.001)), (5000, LRPolicy.Exp(base_lr=0.1, gamma=0.5)))"
    assert repr(policy) == shown
    again = LRPolicy.Staged((60000, LRPolicy.Fixed(0.001)), (5000, LRPolicy.Exp(0.1, 0.5)))
    assert policy == again
    assert hash(policy) == hash(again)
    assert policy != LRPolicy.Staged((60000, 0.001))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LRPolicy.Fixed(-1), r"LRPolicy.Fixed: expected base_lr .* received -1"),
        (lambda: LRPolicy.Fixed("fast"), r"LRPolicy.Fixed: expected base_lr .* received 'fast'"),
        (lambda: LRPolicy.Step(0.1, 0.9, 0), r"LRPolicy.Step: expected stepsize .* >= 1, received 0"),
        (lambda: LRPolicy.Exp(0.1, float("nan")), r"LRPolicy.Exp: expected gamma .* received nan"),
        (lambda: LRPolicy.Inv(0.1, 0.9, -2), r"LRPolicy.Inv: expected power .* received -2"),
        (lambda: MomPolicy.Fixed(1.5), r"MomPolicy.Fixed: expected base_mom .*\[0, 1\], received 1.5"),
        (lambda: MomPolicy.Linear(0.5, 0.1, 1, 3), r"MomPolicy.Linear: expected max_mom .* received 3"),
        (lambda: MomPolicy.Step(0.5, -1, 1, 0.9), r"MomPolicy.Step: expected gamma .* received -1"),
        (lambda: LRPolicy.Staged(), r"LRPolicy.Staged: expected stages such as \(60000, 0.001\), received none"),
        (lambda: LRPolicy.Staged(0.1), r"LRPolicy.Staged: expected stages .* received 0.1"),
        (lambda: MomPolicy.Staged((0, 0.1)), r"MomPolicy.Staged: expected the iterations of a stage .* 0"),
        (lambda: LRPolicy.Staged((5, "x")), r"LRPolicy.Staged: expected the policy of a stage .* 'x'"),
    ],
)
def test_bad_constants_are_named(make, message):
    with pytest.raises(ConfigurationError, match=message):
        make()


def test_a_rate_beyond_all_numbers_is_named():
    policy = LRPolicy.Exp(0.01, 2.0)
    with pytest.raises(
        ConfigurationError, match=r"LRPolicy.Exp\(.*\): expected its value at iteration 5000 to be a fin.*inf"
    ):
        evaluate(policy, 5000)


def test_solver_parameters_take_policies_and_numbers():
    given = SolverParameters(max_iter=1, lr_policy=LRPolicy.Fixed(0.5), momentum=0.25)
    assert (evaluate(given.lr_policy, 3), given.hyperparameters) == (0.5, {"momentum": 0.25})


def test_a_policy_that_is_not_there():
    with pytest.raises(
        UnknownNameError, match=r"LRPolicy has no member 'Stepp'\. Did you mean 'Step'\? It has: Fixed, "
    ):
        _ = LRPolicy.Stepp
    with pytest.raises(
        AttributeError, match=r"MomPolicy has no member 'Cosine'\. It has: Fixed, Step, Linear, Staged\."
    ):
        _ = MomPolicy.Cosine


def test_stages_may_be_lists():
    stages = [[10, 0.5], (20, LRPolicy.Exp(0.1, 0.5))]
    assert LRPolicy.Staged(*stages) == LRPolicy.Staged(*map(tuple, stages))
    assert hash(LRPolicy.Staged(*stages)) == hash(LRPolicy.Staged(*map(tuple, stages)))
    assert LRPolicy.Staged(*stages)(9) == 0.5
