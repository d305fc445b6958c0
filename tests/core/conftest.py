"""Makes the toys importable, and registers them once for the tests of this folder."""

import os
import sys
from pathlib import Path

os.environ["MOCHA_STRICT_PLUGINS"] = "1"
sys.path.insert(0, str(Path(__file__).parent))

import pytest

from mocha_core.plugins import plugin_manager


@pytest.fixture(autouse=True, scope="session")
def toys():
    """The toy plugin, registered."""
    from toys import plugin

    plugin_manager().add_plugin(plugin, plugin.NAME)
    yield plugin
    plugin_manager().remove_plugin(plugin.NAME)


@pytest.fixture
def register():
    """Register plugin objects for one test: `register(plugin, "name")`."""
    names = []

    def add(plugin, name):
        plugin_manager().add_plugin(plugin, name)
        names.append(name)

    yield add
    for name in names:
        plugin_manager().remove_plugin(name)
