"""Told to stop by a signal at any moment and gone on with, a run is the uninterrupted one to the byte."""

import json
import os
import pty
import subprocess
import sys
import termios
from collections import Counter
from pathlib import Path


def test_signals_at_random_moments(tmp_path, trials, report):
    """A signal that comes before or after `solve` may kill; the run is gone on with all the same."""
    script = Path(__file__).with_name("interrupted.py")
    command = [sys.executable, str(script), str(tmp_path), str(trials(200))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stdout + done.stderr
    runs = [json.loads(line) for line in done.stdout.splitlines()]
    for run in runs:
        assert not run["wrong"], f"trial {run['number']}: {run['wrong']}"
    fates = Counter(fate for run in runs for fate in run["fates"])
    found = (
        f"{len(runs)} of {len(runs)} runs equal to the uninterrupted ones, to the byte ({fates['killed']} signals more "
        f"came outside of solve, {fates['over']} when all was over)"
    )
    report("SIGINT, SIGTERM or SIGHUP in solve", fates["stopped"], found)


HANGUP = """
import numpy as np
import mocha_core as mocha
from mocha_core import coffee, layers, solvers

data = layers.MemoryDataLayer(name="data", tops=["x", "y"], data=[np.ones((8, 3)), np.ones((8, 1))], batch_size=4)
layer = layers.InnerProductLayer(output_dim=1, bottoms=["x"], tops=["scores"])
with mocha.System("cpu", threads=1) as system:
    net = mocha.Net("net", system, [data, layer, layers.SquareLossLayer(bottoms=["scores", "y"])])
    solver = solvers.SGD(mocha.SolverParameters(max_iter=10**9))
    solver.add_coffee_break(coffee.TrainingSummary(), every_n_iter=10)
    solver.add_coffee_break(coffee.ProgressBar(), every_n_iter=10)
    solver.add_coffee_break(coffee.Snapshot("run"), every_n_iter=10**9)
    solver.solve(net)
"""


def test_a_terminal_that_is_closed(tmp_path):
    """The process is sent SIGHUP, and can write to the terminal no more. No progress bar keeps it from saving."""
    terminal, its = pty.openpty()
    termios.tcsetwinsize(terminal, (24, 80))
    command = ["setsid", "--ctty", sys.executable, "-c", HANGUP]
    environment = os.environ | {"PYTHONUNBUFFERED": ""}
    with subprocess.Popen(command, stdin=its, stdout=its, stderr=its, cwd=tmp_path, env=environment) as process:
        os.close(its)
        shown = b""
        while b"000030 :: TRAIN" not in shown or b"it/s" not in shown:
            shown += os.read(terminal, 10_000)
        os.close(terminal)
        # Python's own status, where standard output is buffered and cannot be flushed at the end.
        assert process.wait(100) == 120
    assert len(list((tmp_path / "run").glob("snapshot-*.hdf5"))) == 1
