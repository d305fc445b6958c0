"""Iterations and predictions of native with one thread and with two, beside no, one and two busy processes.

The processes only count, at the same priority and in the same session, so that the system gives each thread an equal
share. Each round measures both numbers of threads, in an order that changes; a ratio is the median of the rounds'
ratios, so that it says how much faster (above 1) or slower two threads are under the same conditions.

    OMP_NUM_THREADS=2 python benchmarks/neighbours.py [NEIGHBOURS...]
"""

import contextlib
import statistics
import subprocess
import sys
import time

import numpy as np
from check_finite import lenet
from threads import mlp

import mocha_core as mocha
from mocha_core import layers, neurons, solvers

THREADS, ROUNDS, SECONDS, LEARN = (1, 2), 9, 0.4, 1.0


def cifar10():
    body, bottom = [], "data"
    for i, filters in enumerate((32, 32, 64), 1):
        body += [
            layers.ConvolutionLayer(
                name=f"c{i}", n_filter=filters, kernel=(5, 5), pad=(2, 2), bottoms=[bottom], tops=[f"c{i}"]
            ),
            layers.PoolingLayer(
                name=f"p{i}", kernel=(3, 3), stride=(2, 2), neuron=neurons.ReLU(), bottoms=[f"c{i}"], tops=[f"p{i}"]
            ),
        ]
        bottom = f"p{i}"
    return (3, 32, 32), [*body, layers.InnerProductLayer(name="ip", output_dim=10, bottoms=["p3"], tops=["scores"])]


def opened(threads, batch, shape, body):
    system = mocha.System("native", seed=1, threads=threads)
    rng = np.random.default_rng(0)
    rows = [rng.standard_normal((batch, *shape)).astype("float32"), rng.integers(0, 10, batch)]
    data = layers.MemoryDataLayer(name="data", data=rows, tops=["data", "label"], batch_size=batch)
    loss = layers.SoftmaxLossLayer(name="loss", bottoms=["scores", "label"])
    return system, mocha.Net("net", system, [data, *body, loss]), rows[0]


def training(threads, batch, net):
    """A function that trains for some iterations, and how many."""
    _, net, _ = opened(threads, batch, *net)
    solver = solvers.SGD(mocha.SolverParameters(max_iter=10**9, lr_policy=1e-4))
    program = net.runs.training_program(solver)
    return 10, lambda: net.runs.train(program, 10, 0, solver.schedule(0, 10))


def predicting(threads, batch, net):
    """A function that predicts once."""
    _, net, rows = opened(threads, batch, *net)
    return 1, lambda: net.predict(rows, "scores")


WORK = {
    "LeNet, training, 64": (training, 64, lenet()),
    "CIFAR-10, training, 32": (training, 32, cifar10()),
    "784-500-10, training, 64": (training, 64, mlp()),
    "LeNet, predict, 1": (predicting, 1, lenet()),
    "CIFAR-10, predict, 1": (predicting, 1, cifar10()),
    "CIFAR-10, predict, 16": (predicting, 16, cifar10()),
}


def rate(count, run, seconds):
    """How often per second."""
    start, done = time.perf_counter(), 0
    while (spent := time.perf_counter() - start) < seconds:
        run()
        done += count
    return done / spent


@contextlib.contextmanager
def busy(processes):
    running = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def main():
    print(f"{'':26}{'neighbours':>11}{'1 thread':>10}{'2 threads':>11}{'ratio':>7}   per second")
    for name, (make, batch, net) in WORK.items():
        runs = {threads: make(threads, batch, net) for threads in THREADS}
        for neighbours in map(int, sys.argv[1:] or (0, 1, 2)):
            with busy(neighbours):
                for threads in THREADS:
                    rate(*runs[threads], LEARN)
                rates = {threads: [] for threads in THREADS}
                for i in range(ROUNDS):
                    for threads in THREADS[:: 1 if i % 2 else -1]:
                        rates[threads].append(rate(*runs[threads], SECONDS))
            ratio = statistics.median(b / a for a, b in zip(*rates.values(), strict=True))
            medians = [statistics.median(found) for found in rates.values()]
            print(f"{name:26}{neighbours:11}{medians[0]:10.0f}{medians[1]:11.0f}{ratio:7.2f}", flush=True)


if __name__ == "__main__":
    main()
