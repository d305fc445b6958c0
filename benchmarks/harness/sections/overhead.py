"""What stands around native's kernels: its executor in training, Python in predictions."""

from __future__ import annotations

from argparse import Namespace

import numpy as np

from harness.contestants import CONTESTANTS
from harness.measure import CHECKS, team
from harness.noise import Gate
from harness.peak import Peak
from harness.remote import Remote
from harness.rounds import take_turn
from harness.tables import digits, table
from harness.workloads import workload

TRAINING = {"W3": (20, 5), "tiny:train:64": ("", "")}
INFERENCE = ("W5-lenet-1", "W5-cifar10-1")
EXPLAINED = """\
Microseconds of an iteration. *Kernels* is the sum of what they take in a profile, waiting for the other threads
included. *Program* is what iterations take in one call of it: of training the same iterations as the profile's, so that
the difference, which is the executor's, is exact even where kernels take long. *Python* is what `solver.solve` or
`net.predict` take beyond that; beside the large kernels of W3 it drowns in the noise. The tiny MLP is W3's with layers
of 8: its iteration is nearly nothing but overhead, barriers included, and so an upper bound for W3's."""


def run(options: Namespace) -> str:
    gate, rows = Gate(Peak(max(options.threads))), []
    with team([CONTESTANTS["native"]], options.threads) as remotes:
        for name in (*TRAINING, *INFERENCE):
            rows += [row(options, remote, gate, name) for remote in remotes]
    heads = ["", "threads", "kernels", "program", "program beyond kernels", "asked", "aimed", "Python"]
    return f"# Overhead of native\n\n{table(heads, rows)}\n\n{EXPLAINED}\n"


def row(options: Namespace, remote: Remote, gate: Gate, name: str) -> list[object]:
    remote.ask("open", name, CHECKS)
    # So many that the beginning and the end of a call do not count.
    n = max(100, round(options.seconds / remote.ask("turn", name, options.seconds)))
    kernels, whole, python = [], [], []
    for _ in range(options.rounds):
        profile = take_turn(remote, gate, "call", name, "profile", n).answer
        kernels.append(sum(step[-1] for step in profile["steps"]))
        alone = take_turn(remote, gate, "call", name, "without_python", n).answer
        whole.append(profile["seconds"] if workload(name).training else alone)
        python.append(take_turn(remote, gate, "turn", name, options.seconds).answer - alone)
    remote.ask("close", name)
    shown = [1e6 * float(np.median(x)) for x in (kernels, whole, np.subtract(whole, kernels), python)]
    asked = TRAINING.get(name, ("", ""))
    return [workload(name).title, remote.threads, *map(digits, shown[:3]), *asked, digits(shown[3])]
