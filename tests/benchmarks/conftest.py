import sys
from pathlib import Path

import pytest

BENCHMARKS = str(Path(__file__).parents[2] / "benchmarks")
if BENCHMARKS not in sys.path:
    sys.path.append(BENCHMARKS)


@pytest.fixture
def system():
    import mocha_core as mocha

    with mocha.System("cpu", threads=1) as system:
        yield system
