"""ProgressBar: a live bar on a terminal, plain lines elsewhere."""

import io
import logging
import re
import sys
import time

import pytest

from mocha_core.coffee import ProgressBar, TrainingSummary
from mocha_core.log import messages, to_stdout
from mocha_core.solvers import SGD
from mocha_core.train.coffee_break import CoffeeBreak


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Clock(CoffeeBreak):
    """A clock that goes one second further at each break."""

    def __init__(self):
        self.seconds = 0

    def enjoy(self, solver, net):
        self.seconds += 1


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", lambda: clock.seconds)
    return clock


def train(system, toy, max_iter, every=1, start=0, clock=None):
    solver = SGD(toy.parameters(max_iter))
    solver.state.iteration = start
    if clock is not None:
        solver.add_coffee_break(clock, every_n_iter=every)
    solver.add_coffee_break(ProgressBar(), every_n_iter=every)
    solver.add_coffee_break(TrainingSummary(), every_n_iter=max_iter)
    solver.solve(toy.regression(system).net)
    return solver


def test_plain_lines_are_seconds_apart_and_end_with_the_last(system, toy, messages, clock):
    solver = train(system, toy, 25, clock=clock)
    lines = [line for line in messages() if "TRAIN" not in line]
    assert [line.split(",")[0] for line in lines] == ["10/25", "20/25", "25/25"]
    assert all(re.fullmatch(r"\d+/25, objective \d\.\d{6}, 1\.0 it/s", line) for line in lines)
    assert f"objective {solver.state.objective:.6f}" in lines[-1]


def test_the_speed_is_that_of_this_run(system, toy, messages, clock):
    train(system, toy, 2000, every=50, start=1000, clock=clock)
    speeds = [float(line.split()[-2]) for line in messages() if "it/s" in line]
    assert speeds == [50.0, 50.0]


def test_a_bar_on_a_terminal_is_not_torn_by_messages(system, toy, monkeypatch, caplog):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    logger = logging.getLogger("mocha")
    handler = logging.StreamHandler(terminal)
    handler.setFormatter(logging.Formatter("LOG %(message)s"))
    monkeypatch.setattr(logger, "handlers", [handler])
    caplog.set_level(logging.INFO, logger="mocha")
    solver = train(system, toy, 25, every=5)
    shown = terminal.getvalue()
    assert logger.handlers == [handler], "the handlers of the user must be as before"
    assert re.search(r"\r100%\|.*\| 25/25 \[.*it/s, objective=" + f"{solver.state.objective:.6f}", shown)
    (before, after) = shown.split("LOG 000025 :: TRAIN obj-val = ")
    assert before.endswith("\r"), "the bar must be wiped before a message"
    assert before.rsplit("\r", 2)[-2].strip() == ""
    assert re.match(r"\d+\.\d{8}\n", after), "the message must have a line of its own"
    assert shown.endswith("\n")


def test_a_resumed_bar_begins_where_the_run_does(system, toy, monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    train(system, toy, 30, every=10, start=10)
    assert " 0/30" not in terminal.getvalue()
    assert "20/30" in terminal.getvalue()


def test_the_bar_is_closed_when_training_fails(system, toy, monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)

    class Fails(TrainingSummary):
        def enjoy(self, solver, net):
            raise ZeroDivisionError

    solver = SGD(toy.parameters(5))
    solver.add_coffee_break(ProgressBar(), every_n_iter=1)
    solver.add_coffee_break(Fails(), every_n_iter=3)
    with pytest.raises(ZeroDivisionError):
        solver.solve(toy.regression(system).net)
    assert terminal.getvalue().endswith("\n")


def test_messages_of_mochas_own_are_shown_above_the_bar(system, toy, monkeypatch):
    """Standard output and standard error are one terminal; the logger is as in a fresh process."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    train(system, toy, 25, every=5)
    before, after = terminal.getvalue().split(":INFO:mocha:000025 :: TRAIN obj-val = ")
    assert before.rsplit("\r", 2)[-2].strip() == "", "the bar must be wiped before a message"
    assert re.match(r"\d+\.\d{8}\n", after)
    assert messages.write is to_stdout


@pytest.mark.parametrize("stream", [None, "closed", "no file"])
def test_without_a_terminal_there_are_lines(system, toy, monkeypatch, messages, stream):
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stderr", {None: None, "closed": closed, "no file": object()}[stream])
    train(system, toy, 5)
    assert sum("it/s" in line for line in messages()) == 1


def test_a_terminal_that_goes_away_does_not_end_the_run(system, toy, monkeypatch):
    """As after a hangup, which is followed by the last snapshot."""

    class Gone(Terminal):
        def write(self, text):
            if "5/30" in text:
                self.gone = True
            if getattr(self, "gone", False):
                raise BrokenPipeError
            return super().write(text)

    monkeypatch.setattr(sys, "stderr", Gone())
    assert train(system, toy, 30).state.iteration == 30
