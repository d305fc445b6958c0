"""Makes the helpers importable."""

import sys
import zlib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
import pytest


@pytest.fixture
def rng(request):
    """Random numbers of the test's own."""
    return np.random.default_rng(zlib.crc32(request.node.name.encode()))
