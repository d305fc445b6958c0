"""LeNet training: Mocha's NumPy backend against the plain NumPy program beside this file.

Both train the same net from parameters of the same sizes, with momentum and weight decay. They take turns in
short rounds of one process, so that whatever else the machine does meets both; medians over the rounds are
compared. `--profile` also lists the time of each step of Mocha's program.

    python benchmarks/cpu_vs_numpy.py [--threads 2] [--rounds 30] [--profile]
"""

import argparse
import statistics
import time
from dataclasses import replace

import numpy as np
import numpy_lenet
from threadpoolctl import threadpool_limits

import mocha_core as mocha
from mocha_core import layers, neurons, solvers

#: Iterations of one side before the other has its turn.
TURN = 5


class MochaLeNet:
    def __init__(self, threads, images, labels):
        data = layers.MemoryDataLayer(batch_size=len(images), data=[images, labels.astype("float32")])
        self.system = mocha.System("cpu", seed=1, threads=threads)
        self.net = mocha.Net("LeNet", self.system, [data, *lenet()])
        self.solver = solvers.SGD(mocha.SolverParameters(max_iter=TURN))

    def run(self):
        """TURN more iterations."""
        last = self.solver.state.iteration + TURN
        self.solver.parameters = replace(self.solver.parameters, max_iter=last)
        self.solver.solve(self.net)


class NumpyLeNet:
    def __init__(self, threads, images, labels):
        self.threads, self.images, self.labels = threads, images, labels
        self.training = numpy_lenet.Training(numpy_lenet.parameters("float32", np.random.default_rng(1)))

    def run(self):
        with threadpool_limits(self.threads, "blas"):
            for _ in range(TURN):
                self.training.step(self.images, self.labels)


def lenet():
    size, half = {"kernel": (5, 5)}, {"kernel": (2, 2), "stride": (2, 2)}
    return [
        layers.ConvolutionLayer(name="conv1", n_filter=20, **size, bottoms=["data"], tops=["conv1"]),
        layers.PoolingLayer(name="pool1", **half, bottoms=["conv1"], tops=["pool1"]),
        layers.ConvolutionLayer(name="conv2", n_filter=50, **size, bottoms=["pool1"], tops=["conv2"]),
        layers.PoolingLayer(name="pool2", **half, bottoms=["conv2"], tops=["pool2"]),
        layers.InnerProductLayer(name="ip1", output_dim=500, neuron=neurons.ReLU(), bottoms=["pool2"], tops=["ip1"]),
        layers.InnerProductLayer(name="ip2", output_dim=10, bottoms=["ip1"], tops=["ip2"]),
        layers.SoftmaxLossLayer(name="loss", bottoms=["ip2", "label"]),
    ]


def milliseconds(run):
    start = time.perf_counter()
    run()
    return (time.perf_counter() - start) * 1e3


def profile(lenet, repeats=30):
    """The median time of each step, each run right after the one before it, as in an iteration."""
    program = lenet.net.training_program(lenet.solver)
    times = [[] for _ in program.bound]
    with program.backend.running():
        for _ in range(repeats):
            for bound, found in zip(program.bound, times):
                found.append(milliseconds(bound.run))
    medians = [statistics.median(found) for found in times]
    for bound, median in sorted(zip(program.bound, medians), key=lambda pair: -pair[1]):
        call = bound.step.call
        print(f"{median:8.3f} ms  {call.layer:12} {call.op.name:16} {bound.step.half:9} {bound.kernel.label}")
    print(f"{sum(medians):8.3f} ms  in all")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2, help="BLAS threads, of both")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--profile", action="store_true")
    arguments = parser.parse_args()
    images, labels = numpy_lenet.minibatch(np.random.default_rng(1), "float32")
    sides = {
        "plain NumPy": NumpyLeNet(arguments.threads, images, labels),
        "Mocha, cpu": MochaLeNet(arguments.threads, images, labels),
    }
    times = {name: [] for name in sides}
    for number in range(arguments.rounds + 1):
        for name, side in sides.items():
            spent = milliseconds(side.run) / TURN
            if number:
                times[name].append(spent)
    medians = {name: statistics.median(found) for name, found in times.items()}
    for name, found in times.items():
        print(f"{name:12} {medians[name]:7.2f} ms an iteration (best {min(found):.2f})")
    plain, ours = medians.values()
    print(f"Mocha takes {ours / plain:.2f} times as long (limit 1.2)")
    if arguments.profile:
        profile(sides["Mocha, cpu"])


if __name__ == "__main__":
    main()
