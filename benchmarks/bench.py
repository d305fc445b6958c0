"""Mocha against its peers, and what else a user may want to know about its speed and size.

    python benchmarks/bench.py                      # everything, about half an hour
    python benchmarks/bench.py --quick              # everything, roughly, in a few minutes
    python benchmarks/bench.py nets --workloads W1,lenet:predict:7 --contestants native,torch --threads 1

Results go to benchmarks/results/, a Markdown file for each section, and are printed.
"""

from __future__ import annotations

import argparse
import signal
import sys
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from harness import cpus
from harness.contestants import CONTESTANTS
from harness.workloads import NETS, PRESETS

RESULTS = Path(__file__).with_name("results")
SECTIONS = {
    "nets": "iterations of the reference nets",
    "layers": "milliseconds per layer on native",
    "overhead": "what native adds to its kernels, and Python to predictions",
    "batches": "cost per image for batches of 1 to 512",
    "depth": "cost of one more layer",
    "startup": "from the start of the interpreter to the end of LeNet's first iteration; import time",
    "size": "installed sizes, and those of wheels",
    "peers": "native, also with AVX2, against the best of all peers, many nets; only if it is named, within --minutes",
    "gpu": "training on a GPU, against PyTorch; only if it is named, and within --minutes",
}
#: What sections with a limit of time may take, unless --minutes says otherwise. They run only if they are named.
MINUTES = {"gpu": 8.0, "peers": 90.0}


@dataclass(frozen=True)
class Preset:
    """How thoroughly is measured; empty `workloads` are all of them."""

    rounds: int
    seconds: float
    workloads: tuple[str, ...]
    avx2: bool


FULL = Preset(rounds=15, seconds=0.25, workloads=(), avx2=True)
QUICK = Preset(rounds=3, seconds=0.05, workloads=("W1", "W2", "W3", "W5-lenet-1"), avx2=False)


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    listed = "; ".join(f"{name}: {what}" for name, what in SECTIONS.items())
    found.add_argument("sections", nargs="*", metavar="SECTION", help=f"{listed}. Default: all others")
    found.add_argument("--quick", action="store_true", help="fewer and shorter rounds, few workloads, to results/quick")
    found.add_argument("--workloads", default="", help=f"of {', '.join(PRESETS)}, or like {next(iter(NETS))}:train:64")
    found.add_argument("--contestants", default="", help=f"of {', '.join(CONTESTANTS)}; default: all installed")
    found.add_argument("--threads", default="", help="such as 1,2; default: 1 and all cores; with --quick all cores")
    found.add_argument("--rounds", type=int, help="turns of each contestant that count")
    found.add_argument("--seconds", type=float, help="of a turn")
    found.add_argument("--minutes", type=float, help="that a section may take: gpu (default: 8) or peers (default: 90)")
    found.add_argument("--to", type=Path, help="folder for results")
    return found


def main() -> None:
    command = parser()
    options = command.parse_args()
    if unknown := set(options.sections) - set(SECTIONS):
        command.error(f"no section {', '.join(sorted(unknown))}; choose of {', '.join(SECTIONS)}")
    options.preset = QUICK if options.quick else FULL
    options.rounds = options.rounds or options.preset.rounds
    options.seconds = options.seconds or options.preset.seconds
    every = len(cpus.cores())
    default = {every} if options.quick else {1, every}
    options.threads = sorted(set(map(int, options.threads.split(","))) if options.threads else default)
    if not 1 <= options.threads[0] <= options.threads[-1] <= every:
        command.error(f"--threads: expected numbers from 1 to {every}, the cores that this process may use")
    minutes = options.minutes
    options.to = options.to or (RESULTS / "quick" if options.quick else RESULTS)
    options.to.mkdir(parents=True, exist_ok=True)
    for name in options.sections or [name for name in SECTIONS if name not in MINUTES]:
        options.minutes = minutes or MINUTES.get(name)
        text = import_module(f"harness.sections.{name}").run(options)
        (options.to / f"{name}.md").write_text(text, encoding="utf-8")
        print(text)


if __name__ == "__main__":
    # By an exception: workers are ended that way, and the stopped ones would stay.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    main()
