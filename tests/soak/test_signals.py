"""Told to stop by a signal at any moment and gone on with, a run is the uninterrupted one to the byte."""

import json
import subprocess
import sys
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
    report("SIGINT or SIGTERM in solve", fates["stopped"], found)
