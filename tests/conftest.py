"""Our own tests use what the kit gives to the authors of plugins."""

pytest_plugins = ["mocha_core.testing.pytest_plugin"]
