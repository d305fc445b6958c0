"""Makes the helpers importable; a test that takes `isa` runs in every instruction set."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import pytest
from instruction_sets import HERE
from mocha_native.isa import VARIABLE


@pytest.fixture(params=HERE)
def isa(request, monkeypatch):
    """The name of an instruction set, which backends made in the test use."""
    monkeypatch.setenv(VARIABLE, request.param)
    return request.param
