"""Mutated files for every reader: read, or refused with a MochaError; nothing crashes, hangs or fills memory."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("mutating.py")
MOST_MEMORY = 512 * 2**20
MOST_SECONDS = 5  # of one processor
READERS = [
    "HDF5 data",
    "HDF5 network",
    "HDF5 snapshot",
    "HDF5 snapshot, sealed again",
    "IDX",
    "IDX, compressed",
    "CIFAR-10",
    "list of files",
    "history",
]


@pytest.mark.parametrize("reader", READERS)
def test_mutated_files(reader, tmp_path, trials, report):
    count = trials(10_000)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    halves = [(0, count // 2), (count // 2, count)]
    logs = {first: open(tmp_path / f"{first}.log", "w") for first, _ in halves}  # noqa: SIM115 - a pipe could fill up
    workers = [
        subprocess.Popen(
            [sys.executable, PROGRAM, reader, str(first), str(last), tmp_path / str(first)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=logs[first],
            text=True,
        )
        for first, last in halves
    ]
    results = []
    for worker in workers:
        out, _ = worker.communicate(timeout=580)
        assert worker.returncode == 0, [log.read_text()[-3000:] for log in tmp_path.glob("*.log")]
        results.append(json.loads(out.splitlines()[-1]))
    for log in logs.values():
        log.close()
    problems = [problem for result in results for problem in result["problems"]]
    assert not problems, "\n".join(f"trial {number}: {what}" for number, what in problems[:5])
    peak = max(result["peak"] for result in results)
    assert peak < MOST_MEMORY
    assert max(result["slowest"] for result in results) < MOST_SECONDS
    read = sum(result["read"] for result in results)
    report(
        f"mutated files: {reader}",
        count,
        f"{count - read:,} refused, {read:,} read, no crash, no hang, at most {peak / 2**20:.0f} MB",
    )
