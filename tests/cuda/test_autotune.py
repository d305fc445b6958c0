"""Which plans are measured, and which of them is taken."""

from types import SimpleNamespace

import pytest
from mocha_cuda.cudnn import autotune
from mocha_cuda.cudnn.library import CuDNNError
from mocha_cuda.cudnn.plans import Choice

HUGE = autotune.WORKSPACE_LIMIT + 1


def plan(engine, workspace=0, knob=0):
    return SimpleNamespace(choice=Choice(engine, ((1, knob),)), workspace_bytes=workspace)


def engines(plans):
    return [p.choice.engine for p in plans]


def test_the_list_is_short_and_has_several_engines():
    plans = [plan(1, knob=k) for k in range(20)] + [plan(2, HUGE)] + [plan(e) for e in range(3, 20)]
    assert engines(autotune.shortlist(iter(plans))) == [1, 1, 1, 1, 3, 4, 5, 6, 7, 8]
    assert autotune.shortlist([]) == []


def test_only_as_many_are_made_as_are_measured():
    made = []
    plans = (made.append(e) or plan(e) for e in range(100))
    autotune.shortlist(plans)
    assert len(made) == autotune.MOST


def test_the_first_whose_workspace_is_not_huge():
    assert autotune.first([plan(1, HUGE), plan(2, 5), plan(3)]).choice.engine == 2
    assert autotune.first([plan(1, HUGE + 2), plan(2, HUGE)]).choice.engine == 2
    assert autotune.first([]) is None


def test_the_median_counts():
    times = {1: iter([9, 1, 9, 1, 9]), 2: iter([5, 5, 5, 5, 5]), 3: iter([2, 2, 90, 90, 90]), 4: iter([5] * 5)}
    found = autotune.fastest([plan(e) for e in times], lambda p: lambda: next(times[p.choice.engine]))
    assert found.choice.engine == 2


@pytest.mark.parametrize("error", [CuDNNError("no", 3000), RuntimeError("capture failed")])
def test_those_that_fail_are_left_out(error):
    def ready(p):
        if p.choice.engine < 3:
            raise error
        return lambda: 1.0

    assert autotune.fastest([plan(e) for e in range(5)], ready).choice.engine == 3
    assert autotune.fastest([plan(1)], ready) is None


@pytest.mark.parametrize(("value", "expected"), [(None, True), ("1", True), ("0", False), (" 0 ", False)])
def test_the_environment_switches_it_off(monkeypatch, value, expected):
    monkeypatch.delenv(autotune.VARIABLE, raising=False)
    if value is not None:
        monkeypatch.setenv(autotune.VARIABLE, value)
    assert autotune.enabled() is expected
