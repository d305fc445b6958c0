"""The fastest of several plans, by measurement."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable
from statistics import median

from mocha_cuda.cudnn.plans import Plan

#: 0: the plan that cuDNN takes to be the fastest, without measuring.
VARIABLE = "MOCHA_CUDA_AUTOTUNE"
#: Plans that are measured, and how many of them may be one engine's: its knobs matter less than the engine.
MOST = 10
MOST_OF_AN_ENGINE = 4
#: Measurements of each, of which the median counts.
ROUNDS = 5
#: Scratch that a plan may want, in bytes, if there is another.
WORKSPACE_LIMIT = 1 << 30


def enabled() -> bool:
    """What the environment says."""
    return os.environ.get(VARIABLE, "1").strip() != "0"


def first(plans: Iterable[Plan]) -> Plan | None:
    """The first with a workspace that is not huge, or else the one with the smallest; None if there is none."""
    found = []
    for plan in plans:
        if plan.workspace_bytes <= WORKSPACE_LIMIT:
            return plan
        found.append(plan)
    return min(found, key=lambda plan: plan.workspace_bytes, default=None)


def shortlist(plans: Iterable[Plan]) -> list[Plan]:
    """Those that are worth measuring, of plans in the order of cuDNN's expectation."""
    chosen: list[Plan] = []
    engines: Counter[int] = Counter()
    for plan in plans:
        if plan.workspace_bytes <= WORKSPACE_LIMIT and engines[plan.choice.engine] < MOST_OF_AN_ENGINE:
            engines[plan.choice.engine] += 1
            chosen.append(plan)
            if len(chosen) == MOST:
                break
    return chosen


def fastest(plans: Iterable[Plan], ready: Callable[[Plan], Callable[[], float]]) -> Plan | None:
    """The plan with the least median time; the earlier one of two that are equal.

    Args:
        plans: to choose from.
        ready: gives, for a plan, what runs it once and returns the time that took.

    Returns:
        None if none of them can be run.
    """
    times: list[tuple[float, Plan]] = []
    for plan in plans:
        try:
            measure = ready(plan)
            times.append((median(measure() for _ in range(ROUNDS)), plan))
        except RuntimeError:
            continue  # it was promised to run, but cuDNN or CUDA finds that it does not
    return min(times, key=lambda pair: pair[0], default=(0.0, None))[1]
