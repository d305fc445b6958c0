"""What Python does for an iteration on a GPU, measured without one: a graph that is launched here does nothing.

LeNet is trained for 256 iterations between two looks of the host, as on a GPU that takes some 60 us for each. What the
driver takes for a launch, one for sixteen iterations, comes to it.

    python benchmarks/cuda_host_overhead.py
"""

import runpy
import statistics
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "cuda"))

from host_backend import HostBackend  # noqa: E402
from host_device import HostDevice  # noqa: E402
from mocha_cuda import program as cuda_program  # noqa: E402

import mocha_core as mocha  # noqa: E402
from mocha_core import solvers  # noqa: E402

ITERATIONS, RUNS = 5120, 15


class Idle(HostDevice):
    """Takes a graph for done as soon as it is launched."""

    def record(self, run):
        super().record(run)
        return lambda: None


class IdleBackend(HostBackend):
    def open(self, number):
        return Idle()


def microseconds(run):
    """The median for an iteration."""
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        run()
        times.append((time.perf_counter() - start) / ITERATIONS * 1e6)
    return statistics.median(times)


def main():
    open_net = runpy.run_path(str(ROOT / "tests" / "native" / "real_nets.py"))["open_net"]
    with mocha.System(IdleBackend(), seed=1) as system:
        net, _ = open_net(system, "lenet", 64)
        policy = solvers.LRPolicy.Inv(0.01, 0.0001, 0.75)
        solver = solvers.SGD(mocha.SolverParameters(max_iter=ITERATIONS, momentum=0.9, lr_policy=policy))
        program = net.runs.training_program(solver)
        cuda_program.SECONDS = float("inf")
        program._chunk = cuda_program.MOST
        # As nothing counts what was done, all of it was.
        program._minibatches.iterations = lambda: min(program._chunk, ITERATIONS - program.done)
        program._minibatches.objectives = np.ones
        schedule = solver.schedule(0, ITERATIONS)
        parts = {
            "schedule: learning rates, momenta, rows": lambda: solver.schedule(0, ITERATIONS),
            "net.runs.train": lambda: net.runs.train(program, ITERATIONS, 0, schedule),
        }
        figures = {name: microseconds(run) for name, run in parts.items()}
    for name, figure in (*figures.items(), ("together", sum(figures.values()))):
        print(f"{figure:6.2f} us an iteration: {name}")


if __name__ == "__main__":
    main()
