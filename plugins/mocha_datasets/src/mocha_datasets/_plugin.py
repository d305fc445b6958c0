"""What this distribution registers; imports neither NumPy nor h5py."""

from typing import Any

from mocha_core import hookimpl


@hookimpl
def mocha_register_datasets(datasets: Any) -> None:
    """The data sets, each a `mocha_datasets.dataset.Dataset`."""
    datasets.add("mnist", "mocha_datasets.mnist:MNIST")
    datasets.add("fashion-mnist", "mocha_datasets.fashion_mnist:FashionMNIST")
    datasets.add("cifar10", "mocha_datasets.cifar10:CIFAR10")


@hookimpl
def mocha_register_commands(commands: Any) -> None:
    """The command `mocha data`."""
    commands.add("data", "mocha_datasets.command:DataCommand")
