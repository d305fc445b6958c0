"""Makes the toys importable, and registers them once for the tests of this folder."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import pytest

import mocha_core as mocha
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


@pytest.fixture
def system():
    """A system on the backend that has nothing but the references, in float64."""
    from toys.plain import Plain

    with mocha.System(Plain(), dtype="float64", seed=3) as system:
        yield system
