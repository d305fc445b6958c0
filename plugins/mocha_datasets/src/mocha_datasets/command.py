"""`mocha data`: list the data sets, or convert one."""

import argparse
from pathlib import Path

from mocha_core.api import ConfigurationError, registries

from .dataset import Dataset


class DataCommand:
    """`mocha data [NAME --to DIR [--from DIR] [--force]]`."""

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add the arguments."""
        parser.add_argument("name", nargs="?", help="the data set; without it, list them all")
        parser.add_argument("--from", dest="source", metavar="DIR", help="folder of the originals")
        parser.add_argument("--to", dest="target", metavar="DIR", help="folder to write to")
        parser.add_argument("--force", action="store_true", help="replace existing files")

    def run(self, arguments: argparse.Namespace) -> int:
        """Run the command; 0 means success."""
        options = {"--from": arguments.source, "--to": arguments.target}
        for option, folder in options.items():
            if folder == "":
                raise ConfigurationError(f"mocha data: {option} is empty. Name a folder, such as . for this one")
        if arguments.name is None:
            if arguments.force or any(options.values()):
                raise ConfigurationError(f"mocha data: name the data set: {', '.join(dataset_names())}")
            for name in dataset_names():
                dataset = get_dataset(name)
                print(f"{name}: {dataset.description}\n    {dataset.get_it}")
            return 0
        dataset = get_dataset(arguments.name)
        if arguments.target is None:
            raise ConfigurationError(f"mocha data {arguments.name}: name the folder to write to with --to")
        source = None if arguments.source is None else Path(arguments.source)
        for path in dataset.convert(source, Path(arguments.target), arguments.force):
            print(path)
        return 0


def dataset_names() -> list[str]:
    """The names of all registered data sets."""
    return sorted(registries().datasets.names())


def get_dataset(name: str) -> Dataset:
    """The registered data set `name`; raises `UnknownNameError` for any other."""
    dataset: Dataset = registries().datasets.get(name)()
    return dataset
