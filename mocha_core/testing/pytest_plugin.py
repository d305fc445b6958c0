"""The kit's pytest plugin. A top-level `conftest.py` loads it:

    pytest_plugins = ["mocha_core.testing.pytest_plugin"]

- `pytest --mocha-backends cpu,strict` runs the kit's tests on these backends only;
- the fixture `register_plugin` registers a plugin for one test;
- a plugin that fails to load is an error and not a warning, as with MOCHA_STRICT_PLUGINS=1;
- the assertions of the kit's test classes show their operands.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from mocha_core.testing import TEST_CLASSES

_MODULES = {*TEST_CLASSES.values(), "backend_arrays"}
pytest.register_assert_rewrite(*(f"mocha_core.testing.{module}" for module in _MODULES))

OPTION = "--mocha-backends"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds `--mocha-backends`."""
    parser.getgroup("mocha").addoption(
        OPTION, metavar="NAMES", help="run the conformance tests on these backends only, such as cpu,strict"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Broken plugins raise, unless the environment says otherwise."""
    os.environ.setdefault("MOCHA_STRICT_PLUGINS", "1")


@pytest.fixture
def register_plugin() -> Iterator[Callable[[object, str], None]]:
    """`register_plugin(plugin, "acme-layers")` registers a plugin until the test ends, as if it were installed."""
    from mocha_core.plugin.manager import plugin_manager

    names: list[str] = []

    def register(plugin: object, name: str) -> None:
        plugin_manager().add_plugin(plugin, name)
        names.append(name)

    yield register
    for name in reversed(names):
        plugin_manager().remove_plugin(name)
