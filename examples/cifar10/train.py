"""Mocha's CIFAR-10 tutorial: three convolutions with local response normalization.

    mocha data cifar10 --from cifar-10-batches-bin --to data/cifar10
    python examples/cifar10/train.py

The net, its initial weights, its regularization and its schedule are those of the original tutorial: pooling
comes before the first rectifier, LRN works within each channel, and the regularization of the last layer's weights
is 250 times as strong as that of the others. The original runs for 70,000 iterations; with another number the
stages of the learning rate keep their proportions.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import mocha_core as mocha
from mocha_core import coffee, initializers, layers, neurons, regularizers, solvers
from mocha_core.api import Layer, Policy


def hidden_layers() -> list[Layer]:
    """From the blob "data", (N, 3, 32, 32), to the blob "ip1", (N, 10)."""
    convolution = partial(layers.ConvolutionLayer, kernel=(5, 5), pad=(2, 2))
    pooling = partial(layers.PoolingLayer, kernel=(3, 3), stride=(2, 2))
    lrn = partial(layers.LRNLayer, kernel=3, scale=5e-5, power=0.75, mode=layers.LRNMode.WithinChannel)
    gaussian, relu = initializers.GaussianInitializer, neurons.ReLU()
    biggest, mean = layers.Pooling.Max, layers.Pooling.Mean
    return [
        convolution(name="conv1", n_filter=32, filter_init=gaussian(std=0.0001), bottoms=["data"], tops=["conv1"]),
        pooling(name="pool1", pooling=biggest, neuron=relu, bottoms=["conv1"], tops=["pool1"]),
        lrn(name="norm1", bottoms=["pool1"], tops=["norm1"]),
        convolution(
            name="conv2", n_filter=32, filter_init=gaussian(std=0.01), neuron=relu, bottoms=["norm1"], tops=["conv2"]
        ),
        pooling(name="pool2", pooling=mean, bottoms=["conv2"], tops=["pool2"]),
        lrn(name="norm2", bottoms=["pool2"], tops=["norm2"]),
        convolution(
            name="conv3", n_filter=64, filter_init=gaussian(std=0.01), neuron=relu, bottoms=["norm2"], tops=["conv3"]
        ),
        pooling(name="pool3", pooling=mean, bottoms=["conv3"], tops=["pool3"]),
        layers.InnerProductLayer(
            name="ip1",
            output_dim=10,
            weight_init=gaussian(std=0.01),
            weight_regu=regularizers.L2Regu(250),
            bottoms=["pool3"],
            tops=["ip1"],
        ),
    ]


def schedule(iterations: int) -> Policy:
    """Learning rate 0.001 for six sevenths of the iterations, then 0.0001, and 0.00001 for the last 14th."""
    last = iterations // 14
    return solvers.LRPolicy.Staged(
        (iterations - 2 * last, solvers.LRPolicy.Fixed(0.001)),
        (last, solvers.LRPolicy.Fixed(0.0001)),
        (last, solvers.LRPolicy.Fixed(0.00001)),
    )


def main() -> None:
    """Train, or resume from the last snapshot."""
    parser = argparse.ArgumentParser(description="Train the CIFAR-10 tutorial's net.")
    parser.add_argument("--data", type=Path, default=Path("data/cifar10"), help="folder of train.txt, test.txt")
    parser.add_argument("--snapshots", type=Path, default=Path("snapshots/cifar10"), help="folder for snapshots")
    parser.add_argument("--iterations", type=int, default=70_000, help="minibatches of 100 images")
    parser.add_argument("--backend", help="such as cpu; otherwise the best one installed")
    parser.add_argument("--threads", type=int, help="otherwise what the backend thinks best")
    parser.add_argument("--seed", type=int, default=1, help="decides the initial weights")
    options = parser.parse_args()
    if not (options.data / "train.txt").exists():
        parser.error(f"no data in {options.data}; to convert it: mocha data cifar10 --from FOLDER --to {options.data}")
    if options.iterations < 14:
        parser.error("argument --iterations: expected at least 14, one for each part of the schedule")

    train_data = layers.HDF5DataLayer(name="train-data", source=options.data / "train.txt", batch_size=100)
    test_data = layers.HDF5DataLayer(name="test-data", source=options.data / "test.txt", batch_size=100)
    common = hidden_layers()
    loss = layers.SoftmaxLossLayer(name="loss", bottoms=["ip1", "label"])
    accuracy = layers.AccuracyLayer(name="test-accuracy", bottoms=["ip1", "label"])

    threads = {} if options.threads is None else {"threads": options.threads}
    with mocha.System(options.backend, seed=options.seed, **threads) as system:
        net = mocha.Net("CIFAR10-train", system, [train_data, *common, loss])
        test_net = mocha.Net("CIFAR10-test", system, [test_data, *common, accuracy])
        parameters = mocha.SolverParameters(
            max_iter=options.iterations, regu_coef=0.004, momentum=0.9, lr_policy=schedule(options.iterations)
        )
        solver = solvers.SGD(parameters)
        solver.add_coffee_break(coffee.ProgressBar(), every_n_iter=10)
        solver.add_coffee_break(coffee.TrainingSummary(), every_n_iter=200)
        solver.add_coffee_break(coffee.Snapshot(options.snapshots, auto_load=True), every_n_iter=5000)
        solver.add_coffee_break(coffee.ValidationPerformance(test_net), every_n_iter=1000)
        solver.solve(net)

        test_net.forward_epoch()
        rate = test_net.statistics()["test-accuracy-accuracy"]
        print(f"Test accuracy after {solver.state.iteration} iterations: {rate:.2%}")


if __name__ == "__main__":
    main()
