"""The hook of other plugins that have data sets. Imports nothing but the core's marker."""

from mocha_core.api import Registry, hookspec


class Hookspecs:
    """What this distribution adds to the hooks of the core."""

    @hookspec(historic=True)
    def mocha_register_datasets(self, datasets: Registry) -> None:
        """`datasets.add(name, target)`: subclasses of `mocha_datasets.dataset.Dataset`; `mocha data NAME` converts."""
