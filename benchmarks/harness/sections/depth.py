"""The cost of one more layer, where the layer itself costs nothing."""

from __future__ import annotations

from argparse import Namespace

from harness.contestants import chosen
from harness.measure import Results, measure
from harness.peak import Peak
from harness.tables import digits, table
from harness.workloads import workload

SHALLOW, DEEP, BATCH = 10, 110, 16
EXPLAINED = f"""\
Training of a chain of inner products with 8 outputs and a rectifier, batches of {BATCH}: the difference between one of
{DEEP} and one of {SHALLOW} layers, divided by {DEEP - SHALLOW}. Of each layer that is forward, backward and update."""


def run(options: Namespace) -> str:
    entries = [entry for entry in chosen(options.contestants, options.quick) if "channels_last" not in entry.variant]
    names = [f"chain{depth}:train:{BATCH}" for depth in (SHALLOW, DEEP)]
    results = Results(Peak(max(options.threads)))
    measure(results, entries, options.threads, list(map(workload, names)), options.rounds, options.seconds)
    rows = []
    for entry in entries:
        for threads in options.threads:
            shallow, deep = (results.median(name, entry.name, threads) for name in names)
            if shallow and deep:
                rows.append([entry.title, threads, digits(1e6 * (deep - shallow) / (DEEP - SHALLOW))])
    heads = ["", "threads", "microseconds per layer"]
    return f"# Cost of one more layer\n\n{table(heads, rows)}\n\n{EXPLAINED}\n"
