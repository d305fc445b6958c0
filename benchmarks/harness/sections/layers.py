"""Milliseconds per layer: where an iteration's time is."""

from __future__ import annotations

from argparse import Namespace
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np

from harness.contestants import chosen
from harness.measure import CHECKS, say, team
from harness.nets import multiply_adds
from harness.noise import Gate
from harness.peak import Peak
from harness.rounds import Turn, take_turn
from harness.tables import milliseconds, table
from harness.workloads import Workload, workload

DEFAULT = "W1,W2,W3,W4,residual"


def run(options: Namespace) -> str:
    """Of native, or of the contestants of Mocha's that are named."""
    threads = max(options.threads)
    gate = Gate(Peak(threads))
    names = (options.workloads or ",".join(options.preset.workloads) or DEFAULT).split(",")
    parts = [f"# Milliseconds per layer, {threads} thread(s)"]
    with team(chosen(options.contestants or "native"), [threads]) as remotes:
        for case in map(workload, names):
            for remote in remotes:
                remote.ask("open", case.name, CHECKS)
                n = max(1, round(options.seconds / remote.ask("turn", case.name, options.seconds)))
                turns = [take_turn(remote, gate, "call", case.name, "profile", n) for _ in range(options.rounds)]
                remote.ask("close", case.name)
                say(f"{case.name}: {options.rounds} profiles")
                parts += [f"## {case.title}: {remote.entry.title}", profile(case, turns, gate.peak.best[threads])]
    return "\n\n".join(parts) + "\n"


def profile(case: Workload, turns: list[Turn], peak: float) -> str:
    """A row for each layer and section: kernels, milliseconds, its part of the iteration, and of the peak."""
    kernels, seconds = defaultdict(list), defaultdict(float)
    medians = np.median([[step[-1] for step in turn.answer["steps"]] for turn in turns], axis=0)
    for (layer, op, section, kernel, _), median in zip(turns[0].answer["steps"], medians):
        key = layer, section
        seconds[key] += median
        kernels[key].append(f"{op} in Python" if kernel == "Python" else kernel)
    total, work = sum(seconds.values()), flop(case)
    rows = [
        [*key, ", ".join(dict.fromkeys(kernels[key])), milliseconds(t), f"{t / total:.1%}", percent(work, key, t, peak)]
        for key, t in seconds.items()
    ]
    rows.append(["all", "", "", milliseconds(total), "", percent({"": case.gflop * 1e9}, "", total, peak)])
    disturbed = sum(turn.disturbed for turn in turns)
    heads = ["layer", "section", "kernels", "ms", "of the time", "of the peak"]
    return (
        f"{table(heads, rows)}\n\nMedians of {len(turns)} profiles, {disturbed} of them disturbed by other processes."
    )


def flop(case: Workload) -> dict[tuple[str, str], float]:
    """By layer and section, of direct summation. The first layer has no gradient of the data."""
    net, found = case.net, {}
    for i, (layer, (x, y)) in enumerate(zip(net.layers, net.shapes())):
        if work := 2.0 * case.batch * multiply_adds(layer, x, y):
            found[layer.name, "forward"] = work
            found[layer.name, "backward"] = work * (1 if i == 0 else 2)
    return found


def percent(work: Mapping[Any, float], key: Any, seconds: float, peak: float) -> str:
    return f"{work[key] / seconds / peak / 1e7:.0f} %" if key in work else ""
