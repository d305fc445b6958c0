"""How the plan for a convolution is found: measured, kept, found again; with a stand-in for cuDNN."""

import gc
import weakref
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from mocha_cuda import autotune
from mocha_cuda.cudnn import convolutions
from mocha_cuda.cudnn.graph import Operand
from mocha_cuda.cudnn.library import Handle
from mocha_cuda.cudnn.plans import Choice, NoPlanError, Wants
from mocha_cuda.cudnn.problem import Direction, Problem
from mocha_cuda.cudnn.shortlist import WORKSPACE_LIMIT
from mocha_cuda.nvrtc import VARIABLE

PROBLEM = Problem(Direction.FORWARD, (2, 3, 9, 9), (4, 3, 3, 3), (2, 4, 7, 7), bias=True)
WORKSPACES = {1: 0, 2: 100, 3: 256, 4: WORKSPACE_LIMIT + 1}
#: Milliseconds of each engine.
TIMES = {1: 3.0, 2: 1.0, 3: 2.0, 4: 0.5}


class FakeTarget:
    """cuDNN with four engines, which are ranked by their numbers."""

    def __init__(self, library, handle):
        self.library = library
        self.refusal = "it is a fake."
        self.engines = dict(WORKSPACES)
        self.cannot = set()
        self.measured = []

    def graph(self, problem):
        return SimpleNamespace(problem=problem)

    def candidates(self, graph, wants):
        yield from (self.plan(graph, engine) for engine in self.engines if self.can(graph, engine))

    def chosen(self, graph, choice, wants):
        able = choice.engine in self.engines and self.can(graph, choice.engine)
        return self.plan(graph, choice.engine) if able else None

    def can(self, graph, engine):
        return (engine, graph.problem.add, graph.problem.relu) not in self.cannot

    def plan(self, graph, engine):
        choice = Choice(engine, ((7, engine),))
        run = partial(self.measured.append, engine)
        bound = []
        return SimpleNamespace(
            graph=graph,
            choice=choice,
            workspace_bytes=self.engines[engine],
            bound=bound,
            bind=lambda handle, addresses, place: bound.append((addresses, place)) or run,
        )


class FakeHandle:
    def __init__(self, library):
        self.stream = None

    def use(self, stream):
        self.stream = stream


class FakeDevice:
    name, driver, number, stream = "a device", 13000, 0, SimpleNamespace(ptr=5)

    def __init__(self):
        self.memory = 1 << 20

    @contextmanager
    def running(self):
        yield

    def empty(self, shape, dtype):
        if shape[0] > self.memory:
            raise MemoryError("out of memory")
        return np.empty(shape, dtype)

    def address(self, array):
        return array.ctypes.data

    def record(self, run):
        return run

    def milliseconds(self, run):
        run()
        return TIMES[self.target.measured[-1]]


@pytest.fixture
def made(monkeypatch, tmp_path):
    """Makes what a process has."""
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    monkeypatch.delenv(autotune.VARIABLE, raising=False)
    monkeypatch.setattr(convolutions, "library", lambda: SimpleNamespace(version=92801))
    monkeypatch.setattr(convolutions, "Handle", FakeHandle)
    monkeypatch.setattr(convolutions, "SPARE", {})
    monkeypatch.setattr(convolutions, "Target", FakeTarget)

    def make(memory=1 << 20):
        device = FakeDevice()
        device.memory = memory
        found = convolutions.Convolutions(device)
        device.target = found.target
        return found

    return make


def test_the_fastest_is_measured_once_and_found_by_the_next_process(made):
    first = made()
    plan = first.plan(PROBLEM, Wants())
    assert plan.choice == Choice(2, ((7, 2),))
    assert set(first.target.measured) == {1, 2, 3}
    n = len(first.target.measured)
    assert first.plan(PROBLEM, Wants()) is plan
    assert len(first.target.measured) == n
    second = made()
    assert second.plan(PROBLEM, Wants()).choice == plan.choice
    assert second.target.measured == []


def test_what_was_kept_but_cannot_be_run_is_measured_again(made):
    made().plan(PROBLEM, Wants())
    later = made()
    later.target.cannot.add((2, False, False))
    assert later.plan(PROBLEM, Wants()).choice.engine == 3
    assert made().plan(PROBLEM, Wants()).choice.engine == 3


@pytest.mark.parametrize(
    ("problem", "wants"),
    [
        (replace(PROBLEM, stride=(2, 2)), Wants()),
        (replace(PROBLEM, dtype="float64"), Wants()),
        (replace(PROBLEM, direction=Direction.BACKWARD_DATA, bias=False), Wants()),
        (PROBLEM, Wants(exact=True)),
    ],
)
def test_another_question_is_measured_anew(made, problem, wants):
    made().plan(PROBLEM, Wants())
    found = made()
    found.plan(problem, wants)
    assert found.target.measured


@pytest.mark.parametrize("variant", [{"relu": True}, {"add": True, "bias": False}])
def test_a_relu_and_adding_are_left_to_the_engine_that_is_the_fastest_without(made, variant):
    found = made()
    assert found.plan(replace(PROBLEM, **variant), Wants()).choice.engine == 2
    other = made()
    other.target.cannot.add((2, variant.get("add", False), variant.get("relu", False)))
    assert other.plan(replace(PROBLEM, **variant), Wants()).choice.engine == 1


def test_nothing_is_measured_where_the_results_have_to_be_the_same_each_time(made, tmp_path):
    found = made()
    assert found.plan(PROBLEM, Wants(deterministic=True)).choice.engine == 1
    assert found.target.measured == []
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_measured_where_it_is_switched_off(made, monkeypatch, tmp_path):
    made().plan(PROBLEM, Wants())
    monkeypatch.setenv(autotune.VARIABLE, "0")
    found = made()
    assert found.plan(PROBLEM, Wants()).choice.engine == 1
    assert found.target.measured == []


def test_without_memory_to_measure_the_first_is_taken_and_not_kept(made, tmp_path):
    found = made(memory=300)
    assert found.plan(PROBLEM, Wants()).choice.engine == 1
    assert list(tmp_path.iterdir()) == []


def test_only_one_with_a_huge_workspace(made):
    found = made()
    found.target.engines = {4: WORKSPACES[4]}
    plan = found.plan(PROBLEM, Wants())
    assert plan.choice.engine == 4
    assert found.target.measured == []


def test_there_is_none(made):
    found = made()
    found.target.engines = {}
    with pytest.raises(
        NoPlanError, match=r"cuDNN 9\.28\.1 has no plan that is exact and deterministic for this: forward"
    ) as e:
        found.plan(PROBLEM, Wants(exact=True, deterministic=True))
    assert "x [2, 3, 9, 9], w [4, 3, 3, 3], y [2, 4, 7, 7], stride (1, 1), pad (0, 0)" in str(e.value)
    assert "precision='tf32', deterministic=False" in str(e.value)
    assert "What it refused last: it is a fake." in str(e.value)


def test_a_handle_is_used_again_when_nobody_has_it(made):
    first, second = made(), made()
    handle = first.handle
    assert handle.stream.ptr == 5
    assert second.handle is not handle
    del first
    gc.collect()
    assert made().handle is handle


def test_a_handle_keeps_its_stream_until_it_has_another():
    """It is used again when the device that it was made for, and maybe that one's stream, are gone."""

    class Stream:
        ptr = 7

    alive, stream, first = [], None, Stream()
    handle = Handle(SimpleNamespace(call=lambda name, *arguments: alive.append(stream and stream())))
    handle.use(first)
    stream = weakref.ref(first)
    del first
    handle.use(Stream())
    assert isinstance(alive.pop(), Stream)
    assert stream() is None


def test_a_workspace_begins_where_memory_from_cuda_does(made):
    found = made()
    plan = found.plan(PROBLEM, Wants())
    arrays = {operand: np.zeros(400, "float32") for operand in Operand}
    workspace = np.zeros(plan.workspace_bytes, "int8")
    plan.bind(arrays, workspace)
    addresses, place = plan.plan.bound[-1]
    assert addresses == {operand: array.ctypes.data for operand, array in arrays.items()}
    assert place % 256 == 0
    assert workspace.ctypes.data <= place
    assert place + WORKSPACES[2] <= workspace.ctypes.data + workspace.nbytes
