"""An iteration of training a perceptron, 784-500-500-10 with minibatches of 64, on cpu and on native.

Backends and numbers of threads take turns, fifty iterations each, and the medians are shown.

    python benchmarks/native_mlp.py
"""

import statistics
import time

import numpy as np

import mocha_core as mocha
from mocha_core import layers, neurons, solvers

BATCH, ITERATIONS, ROUNDS = 64, 50, 15


def trainer(backend, threads):
    """A function that trains for ITERATIONS, and returns the milliseconds of one."""
    random = np.random.default_rng(0)
    arrays = [random.standard_normal((6400, 784)).astype("float32"), random.integers(0, 10, 6400)]
    hidden = {"output_dim": 500, "neuron": neurons.ReLU()}
    body = [
        layers.MemoryDataLayer(data=arrays, batch_size=BATCH),
        layers.InnerProductLayer(bottoms=["data"], tops=["h1"], **hidden),
        layers.InnerProductLayer(bottoms=["h1"], tops=["h2"], **hidden),
        layers.InnerProductLayer(output_dim=10, bottoms=["h2"], tops=["scores"]),
        layers.SoftmaxLossLayer(bottoms=["scores", "label"]),
    ]
    net = mocha.Net("perceptron", mocha.System(backend, threads=threads), body)
    solver = solvers.SGD(mocha.SolverParameters(max_iter=1, lr_policy=1e-3))
    program = net.training_program(solver)
    cells = solver.schedule(0, ITERATIONS)

    def train():
        start = time.perf_counter()
        net.train(program, ITERATIONS, 0, cells)
        return (time.perf_counter() - start) / ITERATIONS * 1e3

    train()
    return train


def main():
    trainers = {f"{name}, {n} thread(s)": trainer(name, n) for n in (1, 2) for name in ("cpu", "native")}
    times = {name: [] for name in trainers}
    for _ in range(ROUNDS):
        for name, train in trainers.items():
            times[name].append(train())
    for name, measured in times.items():
        print(f"{name:22} {statistics.median(measured):6.2f} ms")


if __name__ == "__main__":
    main()
