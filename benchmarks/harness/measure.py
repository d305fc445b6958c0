"""Everybody does every workload: started, checked against each other, and timed in turns."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from math import inf

from harness.contestants import Entry
from harness.noise import Gate
from harness.peak import Peak
from harness.remote import Remote, WorkerError
from harness.rounds import Times, compete
from harness.workloads import MINIBATCHES, Workload

#: How many first results everybody shows, and how near they must be to those of the first contestant. One more than
#: there are minibatches: the last one shows what was learned from the first.
CHECKS, TOLERANCE = MINIBATCHES + 1, 1e-3
#: Seconds after the end of the time in which the workload that has begun may be finished.
GRACE = 60


@dataclass
class Results:
    """What was measured: times by the names of workload and contestant and the number of threads."""

    peak: Peak
    times: dict[tuple[str, str, int], Times] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    """Who could not do what, and why."""
    versions: dict[str, str] = field(default_factory=dict)
    workloads: list[Workload] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    threads: list[int] = field(default_factory=list)

    def leave_out(self, workload: Workload, remote: Remote, why: str) -> None:
        self.left_out.append(f"{workload.name}: {remote.label}: {why}")
        say(self.left_out[-1])

    def median(self, workload: str, entry: str, threads: int) -> float | None:
        times = self.times.get((workload, entry, threads))
        return times.median if times else None


@contextmanager
def team(entries: Sequence[Entry], threads: Sequence[int]) -> Iterator[list[Remote]]:
    """Workers of all contestants and all numbers of threads, which end in any case."""
    remotes: list[Remote] = []
    try:
        for entry in entries:
            for n in threads:
                remotes.append(Remote(entry, n))
                remotes[-1].ask("versions")
        yield remotes
    finally:
        for remote in remotes:
            remote.end()


def measure(
    results: Results,
    entries: Sequence[Entry],
    threads: Sequence[int],
    workloads: Sequence[Workload],
    rounds: int,
    seconds: float,
    until: float = inf,
) -> None:
    """Add to the results. No workload begins after `until`, by `time.monotonic`."""
    gate = Gate(results.peak)
    for kept, new in ((results.entries, entries), (results.threads, threads), (results.workloads, workloads)):
        kept.extend(item for item in new if item not in kept)
    with team(entries, threads) as remotes:
        for remote in remotes:
            results.versions |= remote.ask("versions")
        for workload in workloads:
            if time.monotonic() > until:
                results.left_out.append(f"{workload.name}, {', '.join(map(str, threads))} thread(s): the time was over")
                continue
            for remote in remotes:
                remote.until = until + GRACE
            ready = prepare(results, remotes, workload)
            for remote, times in zip(ready, compete(ready, workload.name, rounds, seconds, gate, say)):
                if times.error:
                    results.leave_out(workload, remote, times.error)
                else:
                    results.times[workload.name, remote.entry.name, remote.threads] = times
                    with suppress(WorkerError):
                        remote.ask("close", workload.name)


def prepare(
    results: Results, remotes: Sequence[Remote], workload: Workload, tolerance: float = TOLERANCE
) -> list[Remote]:
    """Those that do the workload, with results that are the first one's: nobody is timed with another net."""
    ready, expected = [], None
    for remote in remotes:
        if not remote.entry.enters(workload):
            continue
        say(f"{workload.name}: {remote.label} gets ready")
        try:
            found = remote.ask("open", workload.name, CHECKS)
        except WorkerError as error:
            results.leave_out(workload, remote, str(error))
            continue
        if not close(found, found, tolerance):
            results.leave_out(workload, remote, f"finds {found}, which are not finite")
            continue
        expected = expected or found
        if close(found, expected, tolerance):
            ready.append(remote)
        else:
            why = f"computes something else: {found}, where {ready[0].label} finds {expected}"
            results.leave_out(workload, remote, why)
            with suppress(WorkerError):
                remote.ask("close", workload.name)
    return ready


def close(found: Sequence[float], expected: Sequence[float], tolerance: float = TOLERANCE) -> bool:
    """Equal up to the tolerance, relative to the largest."""
    scale = max(map(abs, expected))
    return len(found) == len(expected) and all(abs(a - b) <= tolerance * scale for a, b in zip(found, expected))


def say(line: str) -> None:
    """Progress, where it does not mix with results."""
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)
