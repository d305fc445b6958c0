"""Makes the toys importable, and registers them once for the tests of this folder."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import pytest

from mocha_core.plugin.manager import plugin_manager


@pytest.fixture(autouse=True, scope="session")
def toys():
    """The toy plugin, registered."""
    from toys import plugin

    plugin_manager().add_plugin(plugin, plugin.NAME)
    yield plugin
    plugin_manager().remove_plugin(plugin.NAME)


@pytest.fixture
def register(register_plugin):
    """The kit's fixture: `register(plugin, "name")`."""
    return register_plugin
