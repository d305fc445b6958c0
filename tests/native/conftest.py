"""Makes the helpers importable; a test that takes `isa` runs in every instruction set."""

import sys
import zlib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
import pytest
from instruction_sets import HERE
from mocha_native import compiled
from mocha_native.backend import NativeBackend
from mocha_native.isa import VARIABLE

#: The nets of the tests are so small that otherwise one thread would run them.
compiled.WORTH = 0.0


@pytest.fixture(params=HERE)
def isa(request, monkeypatch):
    """The name of an instruction set, which backends made in the test use."""
    monkeypatch.setenv(VARIABLE, request.param)
    return request.param


@pytest.fixture
def rng(request):
    """Random numbers of the test's own."""
    return np.random.default_rng(zlib.crc32(request.node.name.encode()))


@pytest.fixture
def lanes_for_all(monkeypatch):
    """There are other kernels for few images; with this, those for blobs in lanes take any batch."""
    monkeypatch.setattr(NativeBackend, "small_layout", lambda self, x: None)
