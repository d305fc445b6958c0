"""Inference: the cost of an image in batches of 1 to 512."""

from __future__ import annotations

from argparse import Namespace

from harness import chart
from harness.contestants import CONTESTANTS, chosen
from harness.measure import Results, measure
from harness.peak import Peak
from harness.tables import digits, table
from harness.workloads import NETS, workload

BATCHES = [2**i for i in range(10)]
#: What is measured where nobody was named, if it is installed.
DEFAULT = ("native", "cpu", "torch", "torch-channels-last", "jax")


def run(options: Namespace) -> str:
    threads = max(options.threads)
    entries = chosen(options.contestants, options.quick)
    if not options.contestants:
        entries = [entry for entry in entries if entry in map(CONTESTANTS.get, DEFAULT)]
    batches = BATCHES[::3] if options.quick else BATCHES
    results, parts = Results(Peak(threads)), [f"# Microseconds per image, inference, {threads} thread(s)"]
    for net in ("lenet",) if options.quick else ("lenet", "cifar10"):
        names = {batch: f"{net}:predict:{batch}" for batch in batches}
        rounds = min(options.rounds, 7)
        measure(results, entries, [threads], list(map(workload, names.values())), rounds, options.seconds / 2)
        costs = {
            entry.title: [
                (batch, 1e6 * seconds / batch)
                for batch, name in names.items()
                if (seconds := results.median(name, entry.name, threads))
            ]
            for entry in entries
        }
        costs = {title: points for title, points in costs.items() if points}
        picture = chart.lines(costs, ("images in a batch", "microseconds per image"), options.to / f"batches-{net}.svg")
        rows = [[title, *(digits(cost) for _, cost in points)] for title, points in costs.items()]
        parts += [f"## {NETS[net].name}", table(["batch", *map(str, batches)], rows)]
        parts += [f"![Cost per image]({picture.name})"] if picture else []
    discarded = sum(times.discarded for times in results.times.values())
    disturbed = sum(times.disturbed for times in results.times.values())
    parts.append(f"{discarded} turns were discarded; {disturbed} that count were disturbed in every attempt.")
    return "\n\n".join(parts) + "\n"
