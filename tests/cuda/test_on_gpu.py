"""What `make test-gpu` does where a test ends its process, or the device."""

import sys
from collections import Counter

import on_gpu
import pytest
from on_gpu import PYTEST, Group, run

TESTS = """
import os, sys, time
from types import SimpleNamespace

import pytest

class CUDARuntimeError(RuntimeError):
    pass

def broken():
    raise CUDARuntimeError("cudaErrorIllegalAddress")

def test_before(): pass

def test_crash(): os._exit(3)

def test_between(): pass

def test_illegal():
    runtime = SimpleNamespace(CUDARuntimeError=CUDARuntimeError, deviceSynchronize=broken)
    sys.modules["cupy"] = SimpleNamespace(cuda=SimpleNamespace(runtime=runtime))
    broken()

def test_wrong(): assert 1 == 2

def test_skipped(): pytest.skip("not here")

def test_after(): pass
"""


@pytest.fixture
def group(tmp_path):
    def make(text, seconds=100):
        path = tmp_path / "test_of_a_device.py"
        path.write_text(text)
        return Group(
            "some", seconds, ["-p", "no:cacheprovider", "--rootdir", str(tmp_path), "-c", "/dev/null", str(path)]
        )

    return make


def test_what_comes_after_is_run_in_another_process(group, capfd):
    counts, fatal = run(group(TESTS))
    assert counts == Counter(passed=3, failed=1, skipped=1, begun=1, lost=1)
    assert [name.split("::")[1] for name in fatal] == ["test_crash", "test_illegal"]
    assert "the device is lost: cudaErrorIllegalAddress" in capfd.readouterr().out


def test_what_has_no_time_is_skipped(group, monkeypatch):
    monkeypatch.setattr(on_gpu, "GRACE", 100)  # a busy machine needs more than 10 s to import pytest and plugins
    assert run(group("def test_late(): raise KeyError", seconds=0)) == (Counter(skipped=1), [])


def test_what_does_not_begin_says_so(group):
    counts, fatal = run(group("import nothing_of_that_name"))
    assert not counts
    assert fatal == ["pytest, status 2, after none"]


def test_it_is_this_python():
    assert PYTEST[0] == sys.executable
