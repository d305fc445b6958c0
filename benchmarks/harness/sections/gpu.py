"""Training on a GPU: Mocha and PyTorch in the same precision, who take turns, within a time that is set."""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from math import inf

from harness import cpus, machine
from harness.contestants import GPU, Entry, chosen, installed
from harness.goals import Ratio, ratio
from harness.measure import Results, prepare, say
from harness.remote import Remote, WorkerError
from harness.rounds import compete
from harness.tables import digits, table
from harness.workloads import Workload, workload

WORKLOADS = ("W1", "W2", "W4", "residual")
#: Who takes part. The compiler takes minutes: it has one precision, and comes last, since it may run out of time.
USUAL = sorted((entry for entry in GPU if entry.name != "torch-compile-float32"), key=lambda e: "compile" in e.name)
#: At most so many turns each.
ROUNDS = 9
#: Iterations that the host's seconds are the mean of. PyTorch's have to fit into the queue of launches; Mocha's are as
#: many as fit into a second, at most so many.
TORCH_HOST, MOCHA_HOST = 20, 2000
#: Of the objectives of the first iterations: TF32's are compared with float32's.
TOLERANCE = 3e-3
#: Seconds that a workload takes besides getting ready and turns.
REST = 5
#: How many times as fast as the best PyTorch variant of that precision, and how many iterations a second.
GOALS = {"W1": (1.5, 12_000), "W2": (1.3, 3_000), "W4": (1.0, None), "residual": (0.95, None)}
#: Microseconds of Python an iteration, of Mocha.
HOST_GOAL = "< 10"

TIMED = """\
An iteration is forward, loss, backward, and SGD with momentum and weight decay of all parameters, in float32. Products
in convolutions and inner products are as the row says: in TF32, or in float32. All data lie on the device: Mocha has a
`MemoryDataLayer`, whose rows it gathers within the iteration; PyTorch has four minibatches as tensors. Mocha runs by
`solver.solve`. PyTorch runs with `cudnn.benchmark` and the fused SGD, in three ways: by the loop of its tutorials; the
same with `torch.compile(mode="max-autotune")`; and as whole iterations in CUDA graphs, one for each minibatch, so that
nothing is copied. Nobody reads the loss, and a turn ends when the device is done. Everybody began with the same
weights, and found the same objectives in the first five iterations to 3e-3.

Each contestant is a process, stopped when it is not its turn. Shown are medians over turns of a quarter of a second, in
an order that changes, with p10 and p90. Host is what Python and CUDA's launches take of an iteration, without waiting
for the device: PyTorch's is until all launches of 20 iterations are made, Mocha's is the mean over those of one `solve`
of a second, at most 2,000."""


class Undisturbed:
    """The gate: what the processors do besides says nothing about the GPU, which is nobody else's."""

    def begin(self) -> float:
        return 1.0

    def calm(self, *_: float) -> bool:
        return True


@dataclass
class Measured(Results):
    """With the host's seconds, by the names of workload and contestant, and what contestants say of the device."""

    host: dict[tuple[str, str], float] = field(default_factory=dict)
    devices: dict[str, None] = field(default_factory=dict)


def run(options: Namespace) -> str:
    entries = chosen(options.contestants) if options.contestants else installed(USUAL)
    names = options.workloads.split(",") if options.workloads else WORKLOADS
    results = Measured(None, entries=entries, workloads=[workload(name) for name in names])
    results.threads = [len(cpus.cores())]
    options.rounds = min(options.rounds, ROUNDS)
    turns = 1.3 * options.rounds * options.seconds * len(entries)
    end = time.monotonic() + 60 * options.minutes
    for left, case in zip(range(len(names), 0, -1), results.workloads):
        seconds = (end - time.monotonic()) / left - turns - REST
        if seconds > 0:
            measure(results, case, options, seconds)
        else:
            results.left_out.append(f"{case.name}: the time was over")
    parts = ["# Training on a GPU", "; ".join([*results.devices, machine.describe(results.versions)])]
    parts += ["## Mocha and PyTorch", goals(results), "## All of it", details(results), "## What is timed", TIMED]
    if results.left_out:
        parts.append("\n".join(["Left out:", "", *(f"- {line}" for line in results.left_out)]))
    return "\n\n".join(parts) + "\n"


def measure(results: Measured, case: Workload, options: Namespace, seconds: float) -> None:
    """One workload, whose contestants have so many seconds to get ready."""
    with ready(results.entries, results.threads[0], time.monotonic() + seconds) as remotes:
        for remote in remotes:
            with suppress(WorkerError):
                results.versions |= remote.ask("versions")
        team = prepare(results, remotes, case, TOLERANCE)
        for remote in team:
            remote.until = inf
        for remote, times in zip(team, compete(team, case.name, options.rounds, options.seconds, Undisturbed(), say)):
            try:
                if times.error:
                    raise WorkerError(times.error)
                results.times[case.name, remote.entry.name, remote.threads] = times
                n = TORCH_HOST if remote.entry.peer else max(1, min(MOCHA_HOST, round(1 / times.median)))
                results.host[case.name, remote.entry.name] = remote.ask("call", case.name, "host_seconds", n)
                results.devices[remote.ask("call", case.name, "device")] = None
            except WorkerError as error:
                results.leave_out(case, remote, str(error))


@contextmanager
def ready(entries: Sequence[Entry], threads: int, until: float) -> Iterator[list[Remote]]:
    """Workers that have imported their frameworks, all at the same time; they are ended in any case."""
    remotes = [Remote(entry, threads) for entry in entries]
    try:
        for remote in remotes:
            remote.until = until
        with ThreadPoolExecutor(len(remotes)) as pool:
            list(pool.map(load, remotes))
        yield remotes
    finally:
        for remote in remotes:
            remote.end()


def load(remote: Remote) -> None:
    """Who cannot will say so once more, when it is asked for the workload."""
    with suppress(WorkerError):
        remote.ask("load")


def goals(results: Measured) -> str:
    """Mocha against the fastest PyTorch of the same precision."""
    rows = []
    for case in results.workloads:
        times, rate = GOALS.get(case.name, (None, None))
        for entry in results.entries:
            mine = results.times.get((case.name, entry.name, results.threads[0]))
            if mine is not None and not entry.peer:
                found = against_best(results, case, entry)
                cells = [found or "", found.against if found else "", f"{times}x" if times else ""]
                cells += [f"{1 / mine.median:,.0f}", f"{rate:,}" if rate else "", host(results, case, entry)]
                rows.append([f"{case.name}: {case.title}, {entry.title}", *cells])
    heads = ["", "times as fast", "as", "asked", "iterations a second", "asked", f"µs of the host, asked {HOST_GOAL}"]
    return table(heads, rows)


def against_best(results: Measured, case: Workload, entry: Entry) -> Ratio | None:
    threads = results.threads[0]
    rivals = [(case.name, e.name, threads) for e in results.entries if e.peer and precision(e) == precision(entry)]
    best = min((r for r in rivals if r in results.times), key=lambda r: results.times[r].median, default=None)
    return best and ratio(results, best, (case.name, entry.name, threads))


def host(results: Measured, case: Workload, entry: Entry) -> str:
    """Microseconds, where they are known."""
    seconds = results.host.get((case.name, entry.name))
    return "" if seconds is None else digits(seconds * 1e6)


def precision(entry: Entry) -> str:
    return entry.variant.split()[-1]


def details(results: Measured) -> str:
    rows = []
    for case in results.workloads:
        for entry in results.entries:
            times = results.times.get((case.name, entry.name, results.threads[0]))
            if times is not None:
                low, high = times.spread
                cells = [f"{1 / times.median:,.0f}", f"{1 / high:,.0f} to {1 / low:,.0f}", digits(times.median * 1e6)]
                cells += [host(results, case, entry), digits(case.gflop / times.median / 1e3)]
                rows.append([case.name, entry.title, *cells])
    heads = ["workload", "who", "iterations a second", "p10 to p90", "µs", "of the host", "TFLOP/s"]
    return table(heads, rows)
