"""`MomPolicy`: how the momentum depends on the iteration."""

from __future__ import annotations

from dataclasses import dataclass

from mocha_core.api import Group, Policy, checks
from mocha_solvers_std import staged
from mocha_solvers_std.geometric import geometric


class MomPolicy(metaclass=Group):
    """Momentum policies, with `i` the number of the update; the first is 0."""

    @dataclass(frozen=True)
    class Fixed(Policy):
        """`base_mom`, always."""

        base_mom: float

        def __post_init__(self) -> None:
            checks.number("MomPolicy.Fixed", "base_mom", self.base_mom, low=0, high=1)

        def __call__(self, iteration: int) -> float:
            return self.base_mom

    @dataclass(frozen=True)
    class Step(Policy):
        """`min(base_mom * gamma ** floor(i / stepsize), max_mom)`."""

        base_mom: float
        gamma: float
        stepsize: int
        max_mom: float

        def __post_init__(self) -> None:
            checks.number("MomPolicy.Step", "base_mom", self.base_mom, low=0, high=1)
            checks.number("MomPolicy.Step", "gamma", self.gamma, low=0)
            checks.integer("MomPolicy.Step", "stepsize", self.stepsize)
            checks.number("MomPolicy.Step", "max_mom", self.max_mom, low=0, high=1)

        def __call__(self, iteration: int) -> float:
            return min(geometric(self.base_mom, self.gamma, iteration // self.stepsize), self.max_mom)

    @dataclass(frozen=True)
    class Linear(Policy):
        """`min(base_mom + gamma * floor(i / stepsize), max_mom)`."""

        base_mom: float
        gamma: float
        stepsize: int
        max_mom: float

        def __post_init__(self) -> None:
            checks.number("MomPolicy.Linear", "base_mom", self.base_mom, low=0, high=1)
            checks.number("MomPolicy.Linear", "gamma", self.gamma, low=0)
            checks.integer("MomPolicy.Linear", "stepsize", self.stepsize)
            checks.number("MomPolicy.Linear", "max_mom", self.max_mom, low=0, high=1)

        def __call__(self, iteration: int) -> float:
            return min(self.base_mom + iteration // self.stepsize * self.gamma, self.max_mom)

    class Staged(staged.Staged):
        """One policy after the other: `MomPolicy.Staged((60000, 0.9), (5000, 0.95))`."""

        quantity = "momentum"
