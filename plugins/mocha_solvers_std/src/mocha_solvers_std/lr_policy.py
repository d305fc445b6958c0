"""`LRPolicy`: how the learning rate depends on the iteration."""

from __future__ import annotations

from dataclasses import dataclass

from mocha_core.api import Group, Policy, checks
from mocha_solvers_std import staged
from mocha_solvers_std.geometric import geometric


class LRPolicy(metaclass=Group):
    """Learning-rate policies, with `i` the number of the update; the first is 0."""

    @dataclass(frozen=True)
    class Fixed(Policy):
        """`base_lr`, always."""

        base_lr: float

        def __post_init__(self) -> None:
            checks.number("LRPolicy.Fixed", "base_lr", self.base_lr, low=0)

        def __call__(self, iteration: int) -> float:
            return self.base_lr

    @dataclass(frozen=True)
    class Step(Policy):
        """`base_lr * gamma ** floor(i / stepsize)`."""

        base_lr: float
        gamma: float
        stepsize: int

        def __post_init__(self) -> None:
            checks.number("LRPolicy.Step", "base_lr", self.base_lr, low=0)
            checks.number("LRPolicy.Step", "gamma", self.gamma, low=0)
            checks.integer("LRPolicy.Step", "stepsize", self.stepsize)

        def __call__(self, iteration: int) -> float:
            return geometric(self.base_lr, self.gamma, iteration // self.stepsize)

    @dataclass(frozen=True)
    class Exp(Policy):
        """`base_lr * gamma ** i`."""

        base_lr: float
        gamma: float

        def __post_init__(self) -> None:
            checks.number("LRPolicy.Exp", "base_lr", self.base_lr, low=0)
            checks.number("LRPolicy.Exp", "gamma", self.gamma, low=0)

        def __call__(self, iteration: int) -> float:
            return geometric(self.base_lr, self.gamma, iteration)

    @dataclass(frozen=True)
    class Inv(Policy):
        """`base_lr * (1 + gamma * i) ** -power`."""

        base_lr: float
        gamma: float
        power: float

        def __post_init__(self) -> None:
            checks.number("LRPolicy.Inv", "base_lr", self.base_lr, low=0)
            checks.number("LRPolicy.Inv", "gamma", self.gamma, low=0)
            checks.number("LRPolicy.Inv", "power", self.power, low=0)

        def __call__(self, iteration: int) -> float:
            return float(self.base_lr * (1 + self.gamma * iteration) ** -self.power)

    class Staged(staged.Staged):
        """One policy after the other: `LRPolicy.Staged((60000, 0.001), (5000, LRPolicy.Exp(0.1, 0.9)))`."""

        quantity = "learning rate"
