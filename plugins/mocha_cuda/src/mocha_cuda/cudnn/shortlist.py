"""Selects the plans of cuDNN for a convolution that are worth measuring."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from mocha_cuda.cudnn.plans import Plan

#: The number of plans that are measured, and how many of them may have the same engine: knobs matter less than engines.
MOST = 10
MOST_OF_AN_ENGINE = 4
#: The largest workspace of a plan, in bytes, if there is another plan.
WORKSPACE_LIMIT = 1 << 30


def first(plans: Iterable[Plan]) -> Plan | None:
    """The first plan with at most `WORKSPACE_LIMIT`, else the one with the smallest workspace; None without plans."""
    found = []
    for plan in plans:
        if plan.workspace_bytes <= WORKSPACE_LIMIT:
            return plan
        found.append(plan)
    return min(found, key=lambda plan: plan.workspace_bytes, default=None)


def shortlist(plans: Iterable[Plan]) -> list[Plan]:
    """The plans that are worth measuring. `plans` are in cuDNN's order of expected speed."""
    chosen: list[Plan] = []
    engines: Counter[int] = Counter()
    for plan in plans:
        if plan.workspace_bytes <= WORKSPACE_LIMIT and engines[plan.choice.engine] < MOST_OF_AN_ENGINE:
            engines[plan.choice.engine] += 1
            chosen.append(plan)
            if len(chosen) == MOST:
                break
    return chosen
