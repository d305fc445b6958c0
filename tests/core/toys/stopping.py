"""Runs that are stopped: a net and a solver for them, diaries of coffee breaks, fixtures that guard handlers."""

import signal

import pytest

import mocha_core as mocha
from mocha_core.host import signal_watch
from mocha_core.train.coffee_break import CoffeeBreak
from toys import nets
from toys.inner_product import InnerProductLayer
from toys.observe import parameters
from toys.plain import Plain
from toys.sgd import SGD
from toys.square_loss import SquareLossLayer
from toys.watched import WatchedLayer

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


class Diary(CoffeeBreak):
    """Writes down what is called, and calls `at` with the name and the iteration."""

    def __init__(self, at=lambda event, iteration: None):
        self.at, self.entries = at, []

    def _write(self, event, solver):
        self.entries.append((event, solver.state.iteration))
        self.at(event, solver.state.iteration)

    def init(self, solver, net):
        self._write("init", solver)

    def enjoy(self, solver, net):
        self._write("enjoy", solver)

    def stopped(self, solver, net):
        self._write("stopped", solver)

    def destroy(self, solver, net):
        self._write("destroy", solver)


def layers():
    hidden = InnerProductLayer(name="h", output_dim=5, bottoms=["target"], tops=["h"])
    x = InnerProductLayer(name="x", output_dim=3, bottoms=["h"], tops=["x"])
    return [nets.data(shuffle=True), hidden, x, SquareLossLayer(bottoms=["x", "target"])]


@pytest.fixture
def net():
    with mocha.System(Plain(), dtype="float64", seed=3) as system:
        yield mocha.Net("net", system, layers())


PYTHONS_OWN = [signal.default_int_handler, signal.SIG_DFL, signal.SIG_DFL]


@pytest.fixture(autouse=True)
def handlers(monkeypatch):
    """Python's own at the beginning of every test; afterwards they have to be what they were."""
    monkeypatch.setattr(signal_watch, "DEADLINE", 1000)  # however slow this machine is
    before = [signal.getsignal(number) for number in SIGNALS]
    for number, handler in zip(SIGNALS, PYTHONS_OWN, strict=True):
        signal.signal(number, handler)
    yield
    after = [signal.getsignal(number) for number in SIGNALS]
    for number, handler in zip(SIGNALS, before, strict=True):
        signal.signal(number, handler)
    assert after == PYTHONS_OWN


def solver_with(*breaks, max_iter=20):
    solver = SGD(parameters(max_iter=max_iter))
    for coffee, every in breaks:
        solver.add_coffee_break(coffee, every_n_iter=every)
    return solver


def send(number):
    """A function for a diary that sends this process a signal; it is handled before it returns."""
    return lambda: signal.raise_signal(number)


def at(event, iteration, action):
    """What a diary calls: `action`, at the first such event."""
    left = [action]
    return lambda e, i: left.pop()() if left and (e, i) == (event, iteration) else None


class Count:
    """A hook that calls `action` in one half of the minibatch with this number, once."""

    def __init__(self, number, half, action):
        self.number, self.half, self.action, self.seen = number, half, action, 0

    def __call__(self, half):
        if half == self.half:
            self.seen += 1
            if self.seen == self.number:
                self.action()


def watched(hook):
    """The layers, with a hook between the two inner products."""
    data, hidden, x, loss = layers()
    between = WatchedLayer(name="watched", hook=hook, bottoms=["h"], tops=["h"])
    return [data, hidden, between, x, loss]
