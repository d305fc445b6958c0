"""The registrations of this distribution. This module imports neither NumPy nor h5py."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mocha_core import hookimpl

if TYPE_CHECKING:
    from mocha_core.api import Registry


@hookimpl
def mocha_register_kinds(kinds: Registry) -> None:
    """The kind of data sets, for which other plugins may register, too."""
    kinds.add("datasets", "mocha_datasets.hookspecs:Hookspecs", noun="data set")


@hookimpl
def mocha_register_datasets(datasets: Registry) -> None:
    """The data sets, each a `mocha_datasets.dataset.Dataset`."""
    datasets.add("mnist", "mocha_datasets.mnist:MNIST")
    datasets.add("fashion-mnist", "mocha_datasets.fashion_mnist:FashionMNIST")
    datasets.add("cifar10", "mocha_datasets.cifar10:CIFAR10")


@hookimpl
def mocha_register_commands(commands: Registry) -> None:
    """The command `mocha data`."""
    help = "convert a data set to HDF5, or list those that can be"
    commands.add("data", "mocha_datasets.command:DataCommand", help=help)
