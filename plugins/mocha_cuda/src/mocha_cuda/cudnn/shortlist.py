"""Which of cuDNN's plans for a convolution are worth a try."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from mocha_cuda.cudnn.plans import Plan

#: Plans that are measured, and how many of them may be one engine's: its knobs matter less than the engine.
MOST = 10
MOST_OF_AN_ENGINE = 4
#: Scratch that a plan may want, in bytes, if there is another.
WORKSPACE_LIMIT = 1 << 30


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
