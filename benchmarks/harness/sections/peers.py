"""Native against the best of all peers, over many nets, the worst first."""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from harness import machine
from harness.contestants import ALL, CONTESTANTS, FROZEN, HELD, Entry, chosen, installed
from harness.measure import Results, measure
from harness.peak import Peak
from harness.sections.nets import noise
from harness.tables import digits, milliseconds, table
from harness.workloads import AGAINST_PEERS, Workload, workload

#: Native with the best instructions of the processor, and with AVX2, which most processors have.
OURS = ("native", "native@avx2")
#: What README's table shows, besides the worst row of training and of inference.
SHOWN = (
    "lenet:train:64",
    "cifar10:train:100",
    "mlp:train:64",
    "vgg:train:16",
    "residual:train:32",
    "lenet:predict:1",
    "cifar10:predict:1",
)
#: Turns of a contestant; there are many of both, and of workloads.
ROUNDS = 7

EXPLAINED = """\
A ratio is the time of the best peer over that of Mocha, in the same round: more than 1 means that Mocha is faster.
Shown are medians over rounds, by the clock and, beside it, by what the processors worked; p10 and p90 are of the
ratio by the clock. The best peer of a row is the one with the lowest ratio. Native that is held to an instruction set
meets the peers that are held to it, and those that cannot be held to any (ONNX Runtime, OpenVINO) with all that the
processor has. torch.compile takes part if it is named. Before anything was timed, everybody had to find the
objectives of five iterations of training, or the scores of five images, to 1e-3 of the largest; who did not is named
below. What an iteration is, and what is in favour of whom: `nets.md`."""


@dataclass(frozen=True)
class Row:
    """Native on one workload, against its best peer."""

    workload: Workload
    ours: Entry
    peer: Entry
    threads: int
    ratio: float
    low: float
    high: float
    processor: float
    seconds: float
    """Native's."""
    peer_seconds: float
    doubtful: bool
    """Whether more than a fifth of the turns behind it were disturbed."""


def run(options: Namespace) -> str:
    until = time.monotonic() + 60 * options.minutes
    names = options.workloads.split(",") if options.workloads else options.preset.workloads or AGAINST_PEERS
    workloads = [workload(name) for name in names]
    entries, results = contestants(options.contestants), Results(Peak(max(options.threads)))
    results.left_out += missing()
    rounds = min(options.rounds, ROUNDS)
    # One thread is what is compared first; more come in the time that is left.
    for threads in options.threads:
        measure(results, entries, [threads], workloads, rounds, options.seconds, until)
    return page(results)


def contestants(names: str) -> list[Entry]:
    """Those that are named, or else all that are installed and compile in seconds; Mocha's come first."""
    if names:
        return sorted(chosen(names), key=lambda entry: entry.peer)
    peers = [e for e in [*ALL, *FROZEN, *HELD] if e.peer and e.module != "plain_numpy" and "compile" not in e.variant]
    return [CONTESTANTS[name] for name in OURS] + installed(peers)


def missing() -> list[str]:
    packages = dict.fromkeys(entry.package for entry in [*ALL, *FROZEN] if entry.peer)
    there = {entry.package for entry in installed([*ALL, *FROZEN])}
    return [f"{package}: it is not installed in this environment" for package in packages if package not in there]


def page(results: Results) -> str:
    rows = compared(results)
    parts = ["# Against all peers", machine.describe(results.versions), noise(results)]
    parts += ["## In short", summary(rows), "## README's table", for_readme(results, rows)]
    parts += ["## The worst first", worst_first(rows)]
    parts += ["## What is compared", EXPLAINED, "## Milliseconds per iteration", milliseconds_of_all(results)]
    if results.left_out:
        parts.append("\n".join(["Left out:", "", *(f"- {line}" for line in dict.fromkeys(results.left_out))]))
    return "\n\n".join(parts) + "\n"


def compared(results: Results) -> list[Row]:
    """A row for each workload, number of threads and Mocha that met a peer, the lowest ratio first."""
    found = []
    for case in results.workloads:
        for threads in results.threads:
            for ours in results.entries:
                if not ours.peer and ours.module == "with_mocha":
                    rows = [against(results, case, ours, peer, threads) for peer in rivals(results.entries, ours)]
                    found += sorted(filter(None, rows), key=lambda row: row.ratio)[:1]
    return sorted(found, key=lambda row: row.ratio)


def isa(entry: Entry) -> str:
    return entry.name.partition("@")[2]


def rivals(entries: Sequence[Entry], ours: Entry) -> list[Entry]:
    """Peers with the same instructions, and those that nobody can hold to others."""
    return [e for e in entries if e.peer and (isa(e) == isa(ours) or e.module == "with_onnx")]


def against(results: Results, case: Workload, ours: Entry, peer: Entry, threads: int) -> Row | None:
    a, b = (results.times.get((case.name, entry.name, threads)) for entry in (peer, ours))
    if not a or not b:
        return None
    ratios = np.divide(a.seconds, b.seconds)
    low, high = np.percentile(ratios, [10, 90])
    processor = float(np.median(np.divide(a.processor, b.processor)))
    doubtful = 5 * max(a.disturbed, b.disturbed) > len(b.seconds)
    spread = (float(np.median(ratios)), float(low), float(high))
    return Row(case, ours, peer, threads, *spread, processor, b.median, a.median, doubtful)


def worst_first(rows: Sequence[Row]) -> str:
    heads = ["net", "Mocha", "threads", "best peer / Mocha", "p10 to p90", "by processor time", "Mocha, ms", "peer, ms"]
    cells = [
        [
            row.workload.title,
            row.ours.title,
            row.threads,
            f"{'? ' * row.doubtful}{'**' * (row.ratio < 1)}{row.ratio:.2f}{'**' * (row.ratio < 1)}",
            f"{row.low:.2f} to {row.high:.2f}",
            f"{row.processor:.2f}",
            milliseconds(row.seconds),
            milliseconds(row.peer_seconds),
            row.peer.title,
        ]
        for row in rows
    ]
    note = "\n\n? More than a fifth of the turns behind this were disturbed by other processes: measure again."
    return table([*heads, "best peer"], cells) + note * any(row.doubtful for row in rows)


def summary(rows: Sequence[Row]) -> str:
    """For each Mocha, number of threads, and kind: how many rows, the worst, the median, and the best."""
    groups: dict[tuple[str, int, str], list[Row]] = {}
    for row in rows:
        kind = "training" if row.workload.training else "inference"
        groups.setdefault((row.ours.title, row.threads, kind), []).append(row)
    cells = []
    for (title, threads, kind), group in sorted(groups.items()):
        ratios = [row.ratio for row in group]
        slower = sum(ratio < 1 for ratio in ratios)
        figures = [f"{value:.2f}" for value in (min(ratios), median(ratios), max(ratios))]
        cells.append([f"{title}, {kind}", threads, len(group), slower, *figures, group[0].workload.title])
    return table(["", "threads", "rows", "slower than a peer", "worst", "median", "best", "the worst is"], cells)


def for_readme(results: Results, rows: Sequence[Row]) -> str:
    """One thread, AVX2 beside the best instructions; of each, also the worst row of training and of inference."""
    single = [row for row in rows if row.threads == 1]
    worst = {}
    for row in single:
        worst.setdefault((row.ours.name, row.workload.training), row.workload.name)
    cells = []
    for case in results.workloads:
        if case.name in SHOWN or case.name in worst.values():
            found = {row.ours.name: row for row in single if row.workload == case}
            slowest = min(single, key=lambda row: row.ratio).workload == case
            shown = [f"{case.title}{' (the worst of all)' * slowest}"]
            for name in reversed(OURS):
                row = found.get(name)
                peer = row.peer.title.split(", AVX2")[0] if row else ""
                shown += [milliseconds(row.seconds), f"{row.ratio:.2f} x ({peer})"] if row else ["", ""]
            cells.append(shown)
    heads = ["", "Mocha with AVX2, ms", "times as fast as the best peer"]
    return table([*heads, "with all instructions, ms", "times as fast as the best peer"], cells)


def milliseconds_of_all(results: Results) -> str:
    """By the clock, and in brackets of the processors."""
    cells = []
    for threads in results.threads:
        for case in results.workloads:
            times = [results.times.get((case.name, entry.name, threads)) for entry in results.entries]
            if any(times):
                shown = (f"{milliseconds(t.median)} ({digits(1e3 * median(t.processor))})" if t else "" for t in times)
                cells.append([case.title, threads, *shown])
    return table(["", "threads", *(entry.title for entry in results.entries)], cells)
