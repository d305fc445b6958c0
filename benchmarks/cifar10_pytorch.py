"""The CIFAR-10 example's net in PyTorch: from Mocha's initial weights, over the same images in the same order.

Prints the objective as it goes and the test accuracy at the end, to set beside what `examples/cifar10/train.py`
prints for the same data, seed and number of iterations.

    pip install torch==2.13.0
    python benchmarks/cifar10_pytorch.py --data data/fashion-cifar --iterations 2000
"""

import argparse
import runpy
from pathlib import Path

import numpy as np
import torch
from mocha_hdf5.contents import Disk
from mocha_hdf5.reader import Reader

import mocha_core as mocha
from mocha_core import layers

ROOT = Path(__file__).parents[1]
BATCH = 100


def initial_weights(hidden_layers, seed):
    source = layers.MemoryDataLayer(data=[np.zeros((BATCH, 3, 32, 32)), np.zeros(BATCH)], batch_size=BATCH)
    with mocha.System("cpu", seed=seed) as system:
        net = mocha.Net("weights", system, [source, *hidden_layers])
        return {key: torch.tensor(state.numpy(), requires_grad=True) for key, state in net.states.items()}


def minibatches(file):
    images, labels = file.table("data"), file.table("label").read().ravel().astype(int)
    for start in range(0, len(labels), BATCH):
        yield images.read(start, start + BATCH), labels[start : start + BATCH]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of train.hdf5 and test.hdf5")
    parser.add_argument("--iterations", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    oracle = runpy.run_path(str(ROOT / "tests" / "oracle" / "test_training.py"))
    case, example = oracle["CASES"]["cifar10"], oracle["EXAMPLE"]
    weights = initial_weights(example["hidden_layers"](), options.seed)
    policy = example["schedule"](options.iterations)
    velocity = {key: torch.zeros_like(w) for key, w in weights.items()}
    done = 0
    with Reader(Disk(options.data / "train.hdf5")) as train, Reader(Disk(options.data / "test.hdf5")) as test:
        while done < options.iterations:
            for images, labels in minibatches(train):
                _, objective = oracle["backward"](case, weights, images, labels)
                oracle["update"](case, weights, velocity, policy(done))
                done += 1
                if done % 200 == 0:
                    print(f"{done:06d} :: TRAIN obj-val = {float(objective):.8f}", flush=True)
                if done == options.iterations:
                    break
        right = total = 0
        for images, labels in minibatches(test):
            with torch.no_grad():
                guess = case.blobs(torch.tensor(images), weights)[case.output].argmax(1).numpy()
            right, total = right + int((guess == labels).sum()), total + len(labels)
    print(f"Test accuracy after {done} iterations: {right / total:.2%}")


if __name__ == "__main__":
    main()
