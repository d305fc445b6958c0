"""Makes the toys of the core's tests importable."""

import contextlib
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "core"))

# The nets of the tests are so small that one thread would run them.
with contextlib.suppress(ImportError):
    from mocha_native import compiled

    compiled.WORTH = 0.0
