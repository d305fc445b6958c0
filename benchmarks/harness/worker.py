"""A process that does one contestant's work with one number of threads, on command.

    python -m harness.worker NAME THREADS

Commands come as lines of JSON, a list of a name and arguments; so do answers, {"result": ...} or {"error": "..."},
with what the command took: seconds by the clock, and of the processors; and the processors' for an iteration of the
last turn.
"""

from __future__ import annotations

import json
import os
import platform
import signal
import sys
import time
from collections.abc import Callable
from importlib import import_module, metadata
from typing import Any

from harness import cpus
from harness.contestants import CONTESTANTS, Contestant, Entry
from harness.workloads import workload


class Worker:
    def __init__(self, entry: Entry, threads: int) -> None:
        self.entry, self.threads = entry, threads
        self.open_ones: dict[str, Contestant] = {}
        self.module: Any = None
        self.processor = 0.0

    def versions(self) -> dict[str, str]:
        found = {"python": platform.python_version()}
        for name in {self.entry.package.replace("_", "-"), "numpy"}:
            found[name] = metadata.version(name)
        return found

    def load(self) -> None:
        """Import the framework."""
        self.module = self.module or import_module(f"harness.contestants.{self.entry.module}")

    def open(self, name: str, checks: int) -> list[float]:
        """Build the contestant and warm it up; its first results."""
        self.load()
        contestant = self.module.make(self.entry.variant, workload(name), self.threads)
        self.open_ones[name] = contestant
        return contestant.check(checks)

    def close(self, name: str) -> None:
        del self.open_ones[name]

    def turn(self, name: str, seconds: float) -> float:
        """Seconds per iteration, in as many as fit into `seconds`, after some that warm the caches."""
        run = self.open_ones[name].run
        one = timed(run, 1)
        if one < seconds / 20:
            one = timed(run, int(seconds / 10 / one))
        n, before = max(1, round(seconds / one)), time.process_time()
        found = timed(run, n)
        self.processor = (time.process_time() - before) / n
        return found

    def call(self, name: str, function: str, *arguments: Any) -> Any:
        """A function of the contestant's module, on the contestant of an open workload."""
        return getattr(self.module, function)(self.open_ones[name], *arguments)


def timed(run: Callable[[int], Any], n: int) -> float:
    """Seconds per iteration."""
    start = time.perf_counter()
    run(n)
    return (time.perf_counter() - start) / n


def main(name: str, threads: int) -> None:
    # Only answers go to what was the standard output; what libraries print goes where errors go.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    # Ctrl-C is for the harness, which ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cpus.keep_to(threads)
    worker = Worker(CONTESTANTS[name], threads)
    for line in sys.stdin:
        command, *arguments = json.loads(line)
        clock, cpu = time.perf_counter(), time.process_time()
        try:
            answer = {"result": getattr(worker, command)(*arguments)}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        answer |= {"clock": time.perf_counter() - clock, "cpu": time.process_time() - cpu}
        answer["processor"] = worker.processor
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
