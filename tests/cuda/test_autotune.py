"""Which of cuDNN's plans are measured, and which of several ways is taken."""

from types import SimpleNamespace

import pytest
from mocha_cuda import autotune
from mocha_cuda.cudnn.library import CuDNNError
from mocha_cuda.cudnn.plans import Choice
from mocha_cuda.cudnn.shortlist import MOST, WORKSPACE_LIMIT, first, shortlist

HUGE = WORKSPACE_LIMIT + 1


def plan(engine, workspace=0, knob=0):
    return SimpleNamespace(choice=Choice(engine, ((1, knob),)), workspace_bytes=workspace)


def engines(plans):
    return [p.choice.engine for p in plans]


def test_the_list_is_short_and_has_several_engines():
    plans = [plan(1, knob=k) for k in range(20)] + [plan(2, HUGE)] + [plan(e) for e in range(3, 20)]
    assert engines(shortlist(iter(plans))) == [1, 1, 1, 1, 3, 4, 5, 6, 7, 8]
    assert shortlist([]) == []


def test_only_as_many_are_made_as_are_measured():
    made = []
    plans = (made.append(e) or plan(e) for e in range(100))
    shortlist(plans)
    assert len(made) == MOST


def test_the_first_whose_workspace_is_not_huge():
    assert first([plan(1, HUGE), plan(2, 5), plan(3)]).choice.engine == 2
    assert first([plan(1, HUGE + 2), plan(2, HUGE)]).choice.engine == 2
    assert first([]) is None


class Clock:
    """A device whose graphs take the times that were given for what is in them."""

    def __init__(self, times):
        self.times = {way: iter(values) for way, values in times.items()}
        self.runs = []

    def ready(self, way):
        return lambda: self.runs.append(way)

    def record(self, run):
        before = len(self.runs)
        run()
        return self.runs[before]

    def milliseconds(self, graph):
        return next(self.times[graph])


def test_the_median_counts():
    clock = Clock({"a": [9, 1, 9, 1, 9], "b": [5] * 5, "c": [2, 2, 90, 90, 90], "d": [5] * 5})
    assert autotune.fastest(clock, "abcd", clock.ready) == "b"
    assert clock.runs.count("a") == 1 + autotune.REPEATS


@pytest.mark.parametrize("error", [CuDNNError("no", 3000), RuntimeError("capture failed")])
def test_those_that_fail_are_left_out(error):
    clock = Clock({"c": [2] * 5, "d": [1] * 5})

    def ready(way):
        if way in "ab":
            raise error
        return clock.ready(way)

    assert autotune.fastest(clock, "abcd", ready) == "d"
    assert autotune.fastest(clock, "ab", ready) is None


@pytest.mark.parametrize(("value", "expected"), [(None, True), ("1", True), ("0", False), (" 0 ", False)])
def test_the_environment_switches_it_off(monkeypatch, value, expected):
    monkeypatch.delenv(autotune.VARIABLE, raising=False)
    if value is not None:
        monkeypatch.setenv(autotune.VARIABLE, value)
    assert autotune.enabled() is expected
