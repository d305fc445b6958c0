"""LeNet on images of ten classes, 28 x 28 pixels: MNIST, or its drop-in replacement Fashion-MNIST.

    mocha data mnist --to data/mnist
    python examples/mnist/lenet.py

If you stop it at any time and start it again, it resumes from its last snapshot.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import mocha_core as mocha
from mocha_core import coffee, layers, neurons, solvers

parser = argparse.ArgumentParser(description="Train LeNet on MNIST.")
parser.add_argument("--data", type=Path, default=Path("data/mnist"), help="folder of train.txt and test.txt")
parser.add_argument("--snapshots", type=Path, default=Path("snapshots/mnist"), help="folder for snapshots")
parser.add_argument("--iterations", type=int, default=1500, help="minibatches of 64 images")
parser.add_argument("--backend", help="such as cpu; otherwise the best one installed")
parser.add_argument("--threads", type=int, help="otherwise the backend's default")
parser.add_argument("--seed", type=int, default=1, help="decides the initial weights")
options = parser.parse_args()
if not (options.data / "train.txt").exists():
    parser.error(f"no data in {options.data}; to unpack the digits: mocha data mnist --to {options.data}")

train_data = layers.HDF5DataLayer(name="train-data", source=options.data / "train.txt", batch_size=64)
conv1 = layers.ConvolutionLayer(name="conv1", n_filter=20, kernel=(5, 5), bottoms=["data"], tops=["conv1"])
pool1 = layers.PoolingLayer(name="pool1", kernel=(2, 2), stride=(2, 2), bottoms=["conv1"], tops=["pool1"])
conv2 = layers.ConvolutionLayer(name="conv2", n_filter=50, kernel=(5, 5), bottoms=["pool1"], tops=["conv2"])
pool2 = layers.PoolingLayer(name="pool2", kernel=(2, 2), stride=(2, 2), bottoms=["conv2"], tops=["pool2"])
fc1 = layers.InnerProductLayer(name="ip1", output_dim=500, neuron=neurons.ReLU(), bottoms=["pool2"], tops=["ip1"])
fc2 = layers.InnerProductLayer(name="ip2", output_dim=10, bottoms=["ip1"], tops=["ip2"])
loss = layers.SoftmaxLossLayer(name="loss", bottoms=["ip2", "label"])
common = [conv1, pool1, conv2, pool2, fc1, fc2]

test_data = layers.HDF5DataLayer(name="test-data", source=options.data / "test.txt", batch_size=100)
accuracy = layers.AccuracyLayer(name="test-accuracy", bottoms=["ip2", "label"])

threads = {} if options.threads is None else {"threads": options.threads}
with mocha.System(options.backend, seed=options.seed, **threads) as system:
    net = mocha.Net("MNIST-train", system, [train_data, *common, loss])
    test_net = mocha.Net("MNIST-test", system, [test_data, *common, accuracy])

    parameters = mocha.SolverParameters(
        max_iter=options.iterations, regu_coef=0.0005, momentum=0.9, lr_policy=solvers.LRPolicy.Inv(0.01, 0.0001, 0.75)
    )
    solver = solvers.SGD(parameters)
    solver.add_coffee_break(coffee.ProgressBar(), every_n_iter=10)
    solver.add_coffee_break(coffee.TrainingSummary(), every_n_iter=100)
    solver.add_coffee_break(coffee.Snapshot(options.snapshots, auto_load=True), every_n_iter=500)
    solver.add_coffee_break(coffee.ValidationPerformance(test_net), every_n_iter=250)
    solver.solve(net)

    test_net.forward_epoch()
    rate = test_net.statistics()["test-accuracy-accuracy"]
    print(f"Test accuracy after {solver.state.iteration} iterations: {rate:.2%}")
