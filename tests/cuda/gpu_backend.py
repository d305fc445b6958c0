"""`pytest -p gpu_backend` registers `cuda-strict`, whose float32 is as exact as the conformance kit wants it.

MOCHA_TEST_SECONDS in the environment is when the run ends: what has not begun by then is skipped, and says so.
"""

import os
import time

import pytest
from mocha_cuda.backend import CUDABackend

from mocha_core.plugins import registries

UNAVAILABLE = "mocha_cuda.requirements:unavailable"


class StrictCUDABackend(CUDABackend):
    """`System("cuda", precision="float32")`."""

    name = "cuda-strict"

    def __init__(self, **options):
        super().__init__(**{"precision": "float32", **options})


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config):
    registries().backends.add(
        StrictCUDABackend.name, f"{__name__}:StrictCUDABackend", priority=-1, available=UNAVAILABLE
    )


def pytest_sessionstart(session):
    session.config.gpu_until = time.monotonic() + float(os.environ.get("MOCHA_TEST_SECONDS", "inf"))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    if time.monotonic() > item.config.gpu_until:
        pytest.skip(f"not run, as the {os.environ['MOCHA_TEST_SECONDS']} s of MOCHA_TEST_SECONDS were over")
