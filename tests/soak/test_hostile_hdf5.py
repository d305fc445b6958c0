"""Hostile HDF5 files under watch: no foreign file is opened, little memory is taken, nothing hangs."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[1] / "data" / "hostile_hdf5.py"
FOREIGN = "foreign-target-f3a9"
MOST_MEMORY = 64 * 2**20


@pytest.fixture
def attack(tmp_path, trials):
    """Attacks; returns what became of each: (entry point, kind, error or None, bytes of memory taken)."""
    folder = tmp_path / "attacks"
    folder.mkdir()

    def attack(*tracer):
        environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        command = [*tracer, sys.executable, PROGRAM, folder, str(10 // trials(10))]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout.splitlines()[-1])

    return attack


def test_every_kind_at_every_entry_point_is_refused_in_little_memory(attack, report):
    results = attack()
    assert [result for result in results if not result[2] or result[2].startswith("CRASHED")] == []
    grown = max(results, key=lambda result: result[3])
    assert grown[3] < MOST_MEMORY, grown
    entries, kinds = {result[0] for result in results}, {result[1] for result in results}
    assert len(kinds) >= 12
    report(
        f"hostile HDF5: {len(kinds)} kinds x {len(entries)} entry points",
        len(results),
        f"all refused, memory growth at most {grown[3] / 2**20:.0f} MB",
    )


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed: system calls cannot be traced")
def test_no_foreign_file_is_opened(attack, tmp_path, report):
    log = tmp_path / "calls"
    results = attack("strace", "-f", "-e", "trace=%file", "-s", "4096", "-o", log)
    attacks, marker, control = log.read_text(errors="replace").partition('"attacks-end"')
    assert marker, "the calls were not traced"
    attacks = attacks[attacks.index('"attacks-begin"') :]
    assert attacks.count(f"{tmp_path}/attacks/") > len(results), "opens of the attacking files are traced"
    assert [line for line in attacks.splitlines() if FOREIGN in line] == []
    assert FOREIGN in control, "plain h5py follows the link"
    report("hostile HDF5, system calls traced", len(results), "no foreign file opened; plain h5py opens it")
