"""`SolverParameters`: the options of a solver, with policies and hyperparameters."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from math import inf
from typing import Any

from mocha_core import checks, suggestions
from mocha_core.errors import ArgumentError, ConfigurationError, blaming
from mocha_core.plugin.construction import Constructed

#: A bound for counts of iterations and rows: no run reaches it, and sums of such counts fit into 64 bits.
LARGEST = 2**53


class Policy(metaclass=Constructed):
    """How a number, such as the learning rate, depends on the iteration.

    It is called in advance for all iterations up to the next coffee break. If it depends on something that a break
    changes, the iterations after the break use the new values.
    """

    @abstractmethod
    def __call__(self, iteration: int) -> float:
        """The value for the update with this number; the first is 0."""


@dataclass(frozen=True, kw_only=True, init=False)
class SolverParameters(metaclass=Constructed):
    """The options of a solver.

    Attributes:
        max_iter: iterations (updates) to run.
        lr_policy: a `Policy`, or a number for a constant learning rate.
        regu_coef: a factor for each parameter's regularizer.
        accumulate: minibatches whose gradients are averaged for one update.
        check_finite: stop at the first objective, state, parameter or slot that is not finite, with an error that names
            its origin.
        clip_norm: the most that the norm of the gradients may be, the root of the sum of the squares of all elements
            of all learned parameters' gradients; where it exceeds that, all are scaled by clip_norm / norm.
        clip_value: each element of a gradient is limited to [-clip_value, clip_value].
        hyperparameters: policies or numbers that only some solvers have, by name. They are given as keywords, such as
            `momentum=0.9`; a solver refuses those that it does not know.

    Gradients are clipped after the averaging of `accumulate` and before regularizers are added. (Caffe's
    `clip_gradients` is `clip_norm`, but clips the sum of `iter_size` minibatches before it is divided.) Gradients that
    are not finite are not clipped: with `check_finite` they stop the run. `clip_norm` and `clip_value` exclude each
    other.

    Raises:
        ConfigurationError: a value makes no sense.
    """

    max_iter: int
    lr_policy: Policy | float = 0.01
    regu_coef: float = 0.0005
    accumulate: int = 1
    check_finite: bool = True
    clip_norm: float | None = None
    clip_value: float | None = None
    hyperparameters: Mapping[str, Policy | float] = field(default_factory=dict, hash=False)

    def __init__(
        self,
        *,
        max_iter: int,
        lr_policy: Policy | float = 0.01,
        regu_coef: float = 0.0005,
        accumulate: int = 1,
        check_finite: bool = True,
        clip_norm: float | None = None,
        clip_value: float | None = None,
        hyperparameters: Mapping[str, Policy | float] | None = None,
        **more: Policy | float,
    ) -> None:
        vars(self).update(
            max_iter=max_iter, lr_policy=lr_policy, regu_coef=regu_coef, accumulate=accumulate,
            check_finite=check_finite, clip_norm=clip_norm, clip_value=clip_value,
            hyperparameters={**(hyperparameters or {}), **more},
        )  # fmt: skip
        self._check()

    def _check(self) -> None:
        owner = "SolverParameters"
        checks.integer(owner, "max_iter", self.max_iter)
        checks.integer(owner, "accumulate", self.accumulate, at_most=checks.MOST)
        checks.instance(owner, "check_finite", self.check_finite, bool, "True")
        checks.number(owner, "regu_coef", self.regu_coef, low=0.0)
        for name, limit in (("clip_norm", self.clip_norm), ("clip_value", self.clip_value)):
            if limit is not None:
                checks.positive(owner, name, limit)
        if self.clip_norm is not None and self.clip_value is not None:
            raise ConfigurationError(
                f"{owner}: expected either clip_norm or clip_value, received clip_norm={self.clip_norm}, "
                f"clip_value={self.clip_value}."
            )
        Hyperparameter(0.0).check(owner, "lr_policy", self.lr_policy)


@dataclass(frozen=True)
class Hyperparameter:
    """A number that a solver's rule reads, besides the learning rate, from the cell of its name.

    `SolverParameters` takes it under that name: a `Policy`, or a number for a constant.

    Attributes:
        default: its value if it is not given.
        low: the smallest number allowed.
        high: the largest number allowed.
    """

    default: Policy | float
    low: float = 0.0
    high: float = inf

    def check(self, owner: str, name: str, given: Any) -> None:
        """Raise `ConfigurationError` unless it is a policy, or a number within the bounds."""
        if not isinstance(given, Policy):
            checks.number(owner, name, given, self.low, self.high)


def policies(
    solver: str, declared: Mapping[str, Hyperparameter], parameters: SolverParameters
) -> dict[str, Policy | float]:
    """The policy or number for each of a solver's cells, by the cell's name.

    Args:
        solver: the name of its class.
        declared: its hyperparameters.
        parameters: its options.

    Raises:
        ArgumentError: the parameters name a hyperparameter that the solver does not have.
        ConfigurationError: a number makes no sense.
    """
    given = parameters.hyperparameters
    for name in given.keys() - declared.keys():
        known = [f.name for f in fields(parameters) if f.name != "hyperparameters"] + list(declared)
        meant = suggestions.field(name, known)
        has = f"Its hyperparameters: {', '.join(declared)}." if declared else "It has no hyperparameters."
        hint = f"Did you mean '{meant}'?" if meant else has
        raise ArgumentError(
            f"{solver} has no hyperparameter '{name}'. {hint} Leave {name}={checks.shown(given[name])} out of "
            "SolverParameters, or use a solver that has it."
        )
    for name, value in given.items():
        declared[name].check(solver, name, value)
    chosen = {name: given.get(name, hyperparameter.default) for name, hyperparameter in declared.items()}
    return {"learning_rate": parameters.lr_policy, **chosen}


def evaluate(policy: Policy | float, iteration: int) -> float:
    """The value of a policy, or the number itself.

    Raises:
        ConfigurationError: the policy's value is not a finite number >= 0.
        PluginError: the policy raised an error.
    """
    if not isinstance(policy, Policy):
        return float(policy)
    with blaming(f"{policy} at iteration {iteration}", "Fix it, or choose another policy."):
        value = policy(iteration)
    return checks.number(policy, f"its value at iteration {iteration}", value, low=0.0)
