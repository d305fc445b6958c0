"""`pytest -p gpu_backend` registers `cuda-strict`, whose float32 is as exact as the conformance kit wants it.

MOCHA_TEST_SECONDS in the environment is when the run ends: what has not begun by then is skipped, and says so.
MOCHA_TEST_LOG is a file, where each test is noted as begun and then with its outcome; those in there are left out.
The run ends where the device is lost: whatever came after it would fail, too.
"""

import os
import sys
import time
from pathlib import Path

import pytest
from mocha_cuda.backend import CUDABackend

from mocha_core.plugin.manager import registries

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


def note(outcome, name):
    if log := os.environ.get("MOCHA_TEST_LOG"):
        with open(log, "a", encoding="utf-8") as file:
            file.write(f"{outcome} {name}\n")


def pytest_collection_modifyitems(config, items):
    if log := os.environ.get("MOCHA_TEST_LOG"):
        noted = {line.split(" ", 1)[1] for line in Path(log).read_text(encoding="utf-8").splitlines()}
        config.hook.pytest_deselected(items=[item for item in items if item.nodeid in noted])
        items[:] = [item for item in items if item.nodeid not in noted]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.when == "call" or not report.passed:
        reason = lost() if report.failed else ""
        note("lost" if reason else report.outcome, item.nodeid)
        if reason:
            item.session.shouldstop = f"the device is lost: {reason}"
    return report


def lost():
    """What CUDA says where nothing works any more on the device."""
    cupy = sys.modules.get("cupy")
    if cupy is None:
        return ""
    try:
        cupy.cuda.runtime.deviceSynchronize()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        return str(error)
    return ""


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    note("begun", item.nodeid)
    if time.monotonic() > item.config.gpu_until:
        pytest.skip(f"not run, as the {os.environ['MOCHA_TEST_SECONDS']} s of MOCHA_TEST_SECONDS were over")
