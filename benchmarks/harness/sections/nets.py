"""The reference nets: iterations of Mocha's backends and of the peers, who take turns."""

from __future__ import annotations

from argparse import Namespace

from harness import chart, goals, machine
from harness.contestants import AVX2_ALL, chosen, installed
from harness.measure import Results, measure
from harness.peak import Peak
from harness.tables import digits, milliseconds, table
from harness.workloads import PRESETS, workload

TIMED = """\
An iteration of training is forward, loss, backward, and SGD with momentum and weight decay of all parameters, in
float32. Data lie in memory: PyTorch and JAX have four minibatches as tensors, and Mocha has a `MemoryDataLayer`, whose
rows it gathers within the iteration. Mocha runs by `solver.solve`, PyTorch by the loop of its tutorials with the fused
SGD, and nobody reads the loss. Inference of Mocha is `net.predict`, from a NumPy array to a NumPy array; the peers' is
from a tensor that lies ready to a NumPy array. Everybody began with the same weights, and found the same objectives in
the first five iterations, or the same scores, to 1e-3.

A contestant with one number of threads is a process, kept to as many cores and stopped when it is not its turn. A turn
is as many iterations as fit, after some that warm the caches. Shown are medians over turns; p10 and p90 in the list
below. Before and after each turn a loop of multiply-adds runs on all cores: turns where it was slower than 90 % of its
best, or where other processes used more than 10 % of the machine, were discarded and repeated."""


def run(options: Namespace) -> str:
    names = options.workloads.split(",") if options.workloads else list(options.preset.workloads or PRESETS)
    workloads = [workload(name) for name in names]
    results = Results(Peak(max(options.threads)))
    settings = {"rounds": options.rounds, "seconds": options.seconds}
    measure(results, chosen(options.contestants, options.quick), options.threads, workloads, **settings)
    limited = [w for w in workloads if w.name in goals.AVX2]
    if limited and not options.contestants and options.preset.avx2:
        measure(results, installed(AVX2_ALL), [max(options.threads)], limited, **settings)
    picture = chart.speeds(results, options.to / "nets.svg")
    parts = ["# The reference nets", machine.describe(results.versions), noise(results)]
    parts += [f"![Speed, relative to the best PyTorch variant]({picture.name})"] if picture else []
    parts += ["## Native and PyTorch", goals.show(results)]
    for threads in results.threads:
        parts += [f"## Milliseconds per iteration, {threads} thread(s)", medians(results, threads)]
    parts += ["## What is timed", TIMED, "## All of it", details(results)]
    if results.left_out:
        parts.append("\n".join(["Left out:", "", *(f"- {line}" for line in results.left_out)]))
    return "\n\n".join(parts) + "\n"


def medians(results: Results, threads: int) -> str:
    rows = [
        [entry.title, *(milliseconds(results.median(w.name, entry.name, threads)) for w in results.workloads)]
        for entry in results.entries
    ]
    return table(["", *(w.name for w in results.workloads)], [row for row in rows if any(row[1:])])


def details(results: Results) -> str:
    entries = {entry.name: entry for entry in results.entries}
    rows = []
    for w in results.workloads:
        for (name, contestant, threads), times in sorted(results.times.items(), key=lambda item: item[0][2]):
            if name != w.name:
                continue
            rate = w.gflop / times.median
            low, high = map(milliseconds, times.spread)
            turns = f"{len(times.seconds)} / {times.discarded} / {times.disturbed}"
            percent = f"{100 * rate / results.peak.best[threads]:.0f} %"
            cells = [milliseconds(times.median), f"{low} to {high}", digits(rate), percent, turns]
            rows.append([w.name, entries[contestant].title, threads, *cells])
    heads = [
        "workload",
        "who",
        "threads",
        "ms",
        "p10 to p90",
        "GFLOP/s",
        "of the peak",
        "turns / discarded / disturbed",
    ]
    work = ", ".join(f"{w.name} {digits(w.gflop)}" for w in results.workloads)
    return f"{table(heads, rows)}\n\nGFLOP per iteration, by direct summation: {work}. Winograd needs fewer."


def noise(results: Results) -> str:
    times = results.times.values()
    kept, discarded = sum(len(t.seconds) for t in times), sum(t.discarded for t in times)
    disturbed = sum(t.disturbed for t in times)
    peaks = ", ".join(f"{rate:.0f} GFLOP/s on {n} thread(s)" for n, rate in sorted(results.peak.best.items()))
    text = f"Peak, measured in the same run by {results.peak.what}: {peaks}. {kept} turns count, {discarded} more were "
    text += "discarded because something disturbed them"
    if disturbed:
        text += f", and {disturbed} of those that count were disturbed in every attempt: read this table with care"
    return text + "."
