"""LeNet in plain NumPy, by hand: `benchmarks/numpy_lenet.py`."""

from __future__ import annotations

import numpy as np
import numpy_lenet
from threadpoolctl import threadpool_limits

from harness.workloads import LEARNING_RATE, MINIBATCHES, MOMENTUM, WEIGHT_DECAY, Workload


class Training:
    def __init__(self, workload: Workload, threads: int) -> None:
        images, labels = workload.net.minibatches(workload.batch, MINIBATCHES)
        self.minibatches = list(zip(np.split(images, MINIBATCHES), np.split(labels, MINIBATCHES)))
        parameters = {
            f"{name}.{key}": array for name, pair in workload.net.weights().items() for key, array in zip("wb", pair)
        }
        self.training = numpy_lenet.Training(parameters, LEARNING_RATE, MOMENTUM, WEIGHT_DECAY)
        self.threads, self.done = threads, 0

    def check(self, n: int) -> list[float]:
        with threadpool_limits(self.threads, "blas"):
            found = [self.training.step(*self.minibatches[(self.done + i) % MINIBATCHES]) for i in range(n)]
        self.done += n
        return found

    def run(self, n: int) -> None:
        self.check(n)


def make(variant: str, workload: Workload, threads: int) -> Training:
    return Training(workload, threads)
