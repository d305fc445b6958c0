"""`make test-gpu`: what needs a GPU, as groups of tests one after another, each within its own time.

A group is a process. Where that dies, hangs, or loses the device, as after an illegal address, another one goes on with
the tests that were not begun: one bad kernel hides nothing.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PYTEST = [sys.executable, "-m", "pytest", "-q", "--tb=short", "-W", "default", "-p", "gpu_backend"]
#: Of pytest, where it came to its end: no test failed, some did, there was none.
DONE = (0, 1, 5)
PATH = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
#: Seconds after its time was over until a process is ended, and processes of a group at most.
GRACE, MOST = 10, 5


class Group(NamedTuple):
    name: str
    seconds: float
    arguments: list[str]
    environment: dict[str, str] = {}


GRAPHS = "test_graphs or test_every_step or test_what_does_not_fit"
#: What is worth most comes first. Libraries may warn. The kit's many shapes are not worth a search for fastest plans.
GROUPS = [
    Group("graphs", 35, ["-m", "gpu", "tests/cuda/test_gpu.py", "-k", f"({GRAPHS}) and not TestOnGPU"]),
    Group("nets", 60, ["-m", "gpu", "tests/cuda/test_gpu.py", "-k", "test_objectives or test_two_deterministic"]),
    Group("layers", 95, ["-m", "gpu", "tests/cuda/test_gpu.py", "-k", "test_layers"]),
    Group("convolutions", 80, ["-m", "gpu", "tests/cuda/test_gpu_convolutions.py"],
          {"MOCHA_CUDA_DEVICE_JSON": "benchmarks/results/device.json"}),
    Group("backend", 60, ["-m", "gpu", "tests/cuda/test_gpu.py", "-k", "TestOnGPU"]),
    Group("kit", 90, ["tests/conformance", "-k", "cuda", "--mocha-backends", "cuda-strict"],
          {"MOCHA_CUDA_AUTOTUNE": "0"}),
    Group("sanitizers", 92, ["-m", "gpu", "tests/cuda/test_gpu.py", "-k", "compute_sanitizer"]),
]  # fmt: skip


def run(group, pytest=PYTEST):
    """Counts of tests by what became of them, and those with whom a process ended."""
    end = time.monotonic() + group.seconds
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        log.touch()
        for _ in range(MOST):
            left = max(0.0, end - time.monotonic())
            environment = os.environ | group.environment
            environment |= {"MOCHA_TEST_SECONDS": f"{left:.0f}", "MOCHA_TEST_LOG": str(log), "PYTHONPATH": PATH}
            before = log.read_text()
            try:
                command = [*pytest, *group.arguments]
                status = subprocess.run(command, cwd=ROOT, env=environment, timeout=left + GRACE).returncode
            except subprocess.TimeoutExpired:
                status = -1
            outcomes, last = read(log)
            if status in DONE or log.read_text() == before or time.monotonic() > end:
                break
    counts = Counter(outcomes.values())
    fatal = [name for name, outcome in outcomes.items() if outcome in ("begun", "lost")]
    if status not in DONE and not fatal:
        fatal = [f"pytest, status {status}, after {last}"]
    return counts, fatal


def read(log):
    """What became of each test that was begun; the last of them."""
    outcomes = {}
    for line in log.read_text().splitlines():
        outcome, name = line.split(" ", 1)
        outcomes[name] = outcome
    return outcomes, next(reversed(outcomes), "none")


def main():
    failed, lines = False, []
    for group in GROUPS:
        print(f"\n=== {group.name}, within {group.seconds} s", flush=True)
        start = time.monotonic()
        counts, fatal = run(group)
        failed = failed or bool(counts["failed"] or fatal or not counts)
        said = ", ".join(f"{counts[outcome]} {outcome}" for outcome in sorted(counts)) or "nothing was run"
        lines.append(f"{group.name}: {said} in {time.monotonic() - start:.0f} s")
        lines += [f"  ended a process: {name}" for name in fatal]
    print("\n=== all of it", *lines, sep="\n")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
