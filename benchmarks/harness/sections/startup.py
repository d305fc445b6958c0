"""What it takes until something happens: imports, and the first iteration of LeNet and of deep nets."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from argparse import Namespace
from importlib.util import find_spec

from harness.contestants import chosen
from harness.remote import ROOT
from harness.tables import table

IMPORTS = ("numpy", "mocha_core", "torch", "jax")
#: Milliseconds, (asked, aimed).
GOALS = {
    "import mocha_core": ("60", ""),
    "native W1": ("600", "300"),
    "native chain300:train:16": ("1000", "300"),
    "native chain1000:train:16": ("3000", "1000"),
}
#: What is trained for an iteration; the deep ones are chains of inner products.
NETS = {"W1": "LeNet", "chain300:train:16": "300 layers", "chain1000:train:16": "1,000 layers"}
EXPLAINED = """\
Milliseconds, medians. Imports are beyond the start of the interpreter; the first iteration is from the start of the
interpreter on, with imports, building the net and compiling it, to the end of one iteration. Files are in the cache of
the disk. Processes run in turn."""


def run(options: Namespace) -> str:
    rounds = options.rounds if options.quick else 2 * options.rounds
    programs = {"pass": "pass"} | {f"import {name}": f"import {name}" for name in IMPORTS if find_spec(name)}
    imports = in_turn({name: [sys.executable, "-c", program] for name, program in programs.items()}, rounds)
    start = imports.pop("pass")
    rows = [[name, f"{1e3 * (seconds - start):.0f}", *GOALS.get(name, ("", ""))] for name, seconds in imports.items()]

    threads = str(max(options.threads))
    entries = [
        e
        for e in chosen(options.contestants, options.quick)
        if e.module != "plain_numpy" and "channels_last" not in e.variant
    ]
    for net, title in NETS.items():
        commands = {e.name: [sys.executable, "-m", "harness.first", e.name, threads, net] for e in entries}
        for entry, seconds in zip(entries, in_turn(commands, options.rounds).values(), strict=True):
            goals = GOALS.get(f"{entry.name} {net}", ("", ""))
            rows.append([f"{entry.title}: {title}, first iteration", f"{1e3 * seconds:.0f}", *goals])
    return f"# Start\n\n{table(['', 'ms', 'asked', 'aimed'], rows)}\n\n{EXPLAINED}\n"


def in_turn(commands: dict[str, list[str]], rounds: int) -> dict[str, float]:
    """Median seconds of each command, after a run that fills the caches."""
    times: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(rounds + 1):
        for name, command in commands.items():
            start = time.perf_counter()
            subprocess.run(command, check=True, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.DEVNULL)
            if number:
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(found) for name, found in times.items()}
