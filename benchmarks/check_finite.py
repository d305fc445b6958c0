"""What `SolverParameters(check_finite=True)` costs an iteration, on the cpu backend.

Two programs of one net, with the check and without, run in turn, an iteration each, and begin in turn. Times are of
the processor, and the cost is the median of the differences between neighbours, so that a busy machine does not matter
much. Random data, which stays in the cache.

    python benchmarks/check_finite.py [THREADS]
"""

import statistics
import sys
import time

import numpy as np

import mocha_core as mocha
from mocha_core import layers, neurons, solvers

ROUNDS = 201


def lenet():
    pool = {"kernel": (2, 2), "stride": (2, 2)}
    return (1, 28, 28), [
        layers.ConvolutionLayer(name="conv1", n_filter=20, kernel=(5, 5), bottoms=["data"], tops=["conv1"]),
        layers.PoolingLayer(name="pool1", bottoms=["conv1"], tops=["pool1"], **pool),
        layers.ConvolutionLayer(name="conv2", n_filter=50, kernel=(5, 5), bottoms=["pool1"], tops=["conv2"]),
        layers.PoolingLayer(name="pool2", bottoms=["conv2"], tops=["pool2"], **pool),
        layers.InnerProductLayer(name="ip1", output_dim=500, neuron=neurons.ReLU(), bottoms=["pool2"], tops=["ip1"]),
        layers.InnerProductLayer(name="ip2", output_dim=10, bottoms=["ip1"], tops=["scores"]),
    ]


def mlp():
    hidden = {"output_dim": 1200, "neuron": neurons.ReLU()}
    return (784,), [
        layers.InnerProductLayer(name="h1", bottoms=["data"], tops=["h1"], **hidden),
        layers.InnerProductLayer(name="h2", bottoms=["h1"], tops=["h2"], **hidden),
        layers.InnerProductLayer(name="ip", output_dim=10, bottoms=["h2"], tops=["scores"]),
    ]


def measure(name, shape, body, batch, threads):
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal((batch, *shape)).astype("float32"), rng.integers(0, 10, batch)]
    data = layers.MemoryDataLayer(name="data", data=arrays, tops=["data", "label"], batch_size=batch)
    loss = layers.SoftmaxLossLayer(name="loss", bottoms=["scores", "label"])
    with mocha.System("cpu", threads=threads) as system:
        net = mocha.Net(name, system, [data, *body, loss])
        runs = []
        for check_finite in (True, False):
            parameters = mocha.SolverParameters(max_iter=1, lr_policy=1e-4, check_finite=check_finite)
            solver = solvers.SGD(parameters)
            runs.append((net.runs.training_program(solver), solver.schedule(0, 1), []))
        for round_ in range(ROUNDS + 2):
            for program, cells, times in runs[:: 1 if round_ % 2 else -1]:
                start = time.process_time()
                net.runs.train(program, 1, 0, cells)
                if round_ >= 2:
                    times.append((time.process_time() - start) * 1e3)
    checked, plain = (statistics.median(times) for _, _, times in runs)
    cost = statistics.median(np.subtract(runs[0][2], runs[1][2])) / plain
    steps = [len(program.bound) for program, _, _ in runs]
    print(f"{name:32} {checked:8.3f} ms {plain:8.3f} ms   {cost:+7.2%}   {steps[0]} and {steps[1]} steps")


def main(threads=1):
    print(f"{'an iteration':32} {'checked':>11} {'not':>11}   {'cost':>7}")
    measure("LeNet, minibatches of 64", *lenet(), 64, threads)
    measure("784-1200-1200-10, of 64", *mlp(), 64, threads)
    measure("784-1200-1200-10, of 256", *mlp(), 256, threads)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
