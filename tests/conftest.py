"""Our own tests use what the kit gives to the authors of plugins, and what several folders share."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

pytest_plugins = ["mocha_core.testing.pytest_plugin"]
