"""Makes the helpers importable; skips what needs a GPU where there is none."""

import sys
import zlib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
import pytest
from mocha_cuda.requirements import unavailable


@pytest.fixture
def rng(request):
    """Random numbers of the test's own."""
    return np.random.default_rng(zlib.crc32(request.node.name.encode()))


def pytest_runtest_setup(item):
    reason = unavailable() if item.get_closest_marker("gpu") else ""
    if reason:
        pytest.skip(f"needs a GPU: {reason}")
