"""The hook for plugins with data sets. This module imports nothing but the core's marker."""

from mocha_core.api import Registry, hookspec


class Hookspecs:
    """The hook that this distribution adds to those of the core."""

    @hookspec(historic=True)
    def mocha_register_datasets(self, datasets: Registry) -> None:
        """`datasets.add(name, target)`: subclasses of `mocha_datasets.dataset.Dataset`; `mocha data NAME` converts."""
