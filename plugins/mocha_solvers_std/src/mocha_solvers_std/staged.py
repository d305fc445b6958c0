"""`Staged`: one policy after the other."""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate
from typing import ClassVar

from mocha_core.api import ConfigurationError, Policy, checks


class Staged(Policy):
    """One policy after the other, each for its number of iterations. The last one stays for ever.

    `Staged((60000, first), (5000, second))` switches to the second at iteration 60000. The policies of the
    stages get the iteration counted from the beginning of the training.

    Args:
        stages: pairs (iterations, policy or number).

    Raises:
        ConfigurationError: there is no stage, or a stage is not such a pair.
    """

    #: The name of the quantity in logs.
    quantity: ClassVar[str]

    def __init__(self, *stages: tuple[int, Policy | float]) -> None:
        name = type(self).__qualname__
        if not stages:
            raise ConfigurationError(f"{name}: expected stages such as (60000, 0.001), received none.")
        lengths = []
        policies: list[Policy | float] = []
        for stage in stages:
            if not isinstance(stage, tuple | list) or len(stage) != 2:
                raise ConfigurationError(
                    f"{name}: expected stages such as (60000, 0.001), received {checks.shown(stage)}."
                )
            length, policy = stage
            lengths.append(checks.integer(name, "the iterations of a stage", length))
            if not isinstance(policy, Policy):
                policy = checks.number(name, "the policy of a stage", policy, low=0)
            policies.append(policy)
        self.stages = tuple(map(tuple, stages))
        self._policies = policies
        self._boundaries = list(accumulate(lengths))[:-1]

    def stage(self, iteration: int) -> int:
        """The number of the stage that the update with this number belongs to; the first is 1."""
        return bisect_right(self._boundaries, iteration) + 1

    def __call__(self, iteration: int) -> float:
        policy = self._policies[self.stage(iteration) - 1]
        return policy(iteration) if isinstance(policy, Policy) else policy

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and isinstance(other, Staged) and other.stages == self.stages

    def __hash__(self) -> int:
        return hash((type(self), self.stages))

    def __repr__(self) -> str:
        return f"{type(self).__qualname__}({', '.join(map(repr, self.stages))})"
