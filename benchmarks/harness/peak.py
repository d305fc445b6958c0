"""The machine's peak of multiply-adds in float32, measured: the best that a loop of nothing else reaches.

With a C compiler it is `peak.c`, compiled for this machine; without one, NumPy's product of large matrices, which
reaches less.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

SOURCE = Path(__file__).with_name("peak.c")
#: Of one spin.
SECONDS = 0.004
FLAGS = ["-O3", "-march=native", "-ffp-contract=fast", "-shared", "-fPIC"]


def compiled_loop() -> Callable[[int], float] | None:
    """Runs so many rounds of the loop and returns its number of operations; None without a compiler."""
    compiler = shutil.which("gcc") or shutil.which("clang") or shutil.which("cc")
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "peak.so"
        if not compiler or subprocess.run([compiler, *FLAGS, SOURCE, "-o", library]).returncode:
            return None
        code = ctypes.CDLL(str(library))
    code.peak_run.argtypes, code.peak_run.restype = [ctypes.c_long], ctypes.c_float

    def loop(rounds: int) -> float:
        code.peak_run(rounds)
        return float(rounds) * code.peak_flop()

    return loop


def matrix_products() -> Callable[[int], float]:
    matrix = np.ones((512, 512), "float32")

    def loop(rounds: int) -> float:
        for _ in range(rounds):
            matrix @ matrix
        return rounds * 2.0 * 512**3

    return loop


class Peak:
    """The loop on some threads at once. `best` is the most GFLOP/s so far, by number of threads."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        loop = compiled_loop()
        self.what = "a C loop of multiply-adds" if loop else "NumPy's product of 512 x 512 matrices"
        self.loop = loop or matrix_products()
        self.best: dict[int, float] = {}
        start = time.perf_counter()
        self.loop(1)
        rounds = 1
        while time.perf_counter() - start < SECONDS:
            start, rounds = time.perf_counter(), rounds * 2
            self.loop(rounds)
        self.rounds = rounds
        for n in {1, threads}:
            for _ in range(20):
                self.spin(n)

    def spin(self, threads: int = 0) -> float:
        """Run the loop on so many threads, by default on all; its speed as a part of the best one."""
        n = threads or self.threads
        rates = [0.0] * n

        def measure(i: int) -> None:
            start = time.perf_counter()
            operations = self.loop(self.rounds)
            rates[i] = operations / (time.perf_counter() - start) / 1e9

        helpers = [threading.Thread(target=measure, args=(i,)) for i in range(1, n)]
        with threadpool_limits(1, "blas"):
            for helper in helpers:
                helper.start()
            measure(0)
            for helper in helpers:
                helper.join()
        self.best[n] = max(self.best.get(n, 0.0), sum(rates))
        return sum(rates) / self.best[n]
