"""Told to stop by a signal at any moment and gone on with, a run is the uninterrupted one to the byte."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path


def test_signals_at_random_moments(tmp_path, trials, report):
    """A signal that comes before or after `solve` may kill; the run is gone on with all the same."""
    wanted, fates, number = trials(200), Counter(), 0
    while fates["stopped"] < wanted:
        (part := tmp_path / str(number)).mkdir()
        count = max(1, (wanted - fates["stopped"]) // 2)
        script = Path(__file__).with_name("interrupted.py")
        command = [sys.executable, str(script), str(part), str(number), str(count)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=1200)
        assert done.returncode == 0, done.stdout + done.stderr
        for line in done.stdout.splitlines():
            trial = json.loads(line)
            assert not trial["wrong"], f"trial {trial['number']}: {trial['wrong']}"
            fates.update(trial["fates"])
        number += count
    others = f"{fates['killed outside of solve']} more came outside of solve, {fates['over']} when all was over"
    found = f"every run equal to the uninterrupted one, to the byte ({number} runs; {others})"
    report("SIGINT or SIGTERM in solve", fates["stopped"], found)
