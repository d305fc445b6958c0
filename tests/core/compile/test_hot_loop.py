"""What plugins cost while training runs: no hook call, no look-up, no compilation."""

import pytest
from toys import nets
from toys.backends import BACKENDS
from toys.observe import parameters
from toys.sgd import SGD

import mocha_core as mocha
from mocha_core.compile.backend import Backend
from mocha_core.compile.selection import Selector
from mocha_core.compile.storage import Storage
from mocha_core.plugin.manager import plugin_manager
from mocha_core.plugin.registry import Candidates, Entry, Registry
from mocha_core.train.coffee_break import CoffeeBreak


class Interval(CoffeeBreak):
    """Counts between breaks, from the second on: the first interval compiles."""

    def __init__(self, calls):
        self.calls, self.counting = calls, False

    def enjoy(self, solver, net):
        if self.counting:
            assert self.calls == []
        self.counting = solver.state.iteration > 0
        self.calls.clear()


WATCHED = [
    (Registry, "entry"), (Registry, "get"), (Registry, "names"), (Registry, "add"), (Candidates, "find"),
    (Entry, "load"), (Selector, "choose"), (Backend, "compile"), (Storage, "allocate"),
]  # fmt: skip


@pytest.mark.parametrize("name", ["plain", "blocked", "deferred", "deferred, fetching"])
def test_nothing_is_looked_up_between_coffee_breaks(name, monkeypatch):
    calls = []
    for owner, method in WATCHED:
        original = getattr(owner, method)

        def watched(*a, _original=original, _name=f"{owner.__name__}.{method}", **k):
            calls.append(_name)
            return _original(*a, **k)

        monkeypatch.setattr(owner, method, watched)
    undo = plugin_manager().add_hookcall_monitoring(lambda *a: calls.append("hook"), lambda *a: None)
    try:
        with mocha.System(BACKENDS[name](), seed=3) as system:
            net = mocha.Net("net", system, [nets.data(), *nets.body(), *nets.losses()])
            assert {"hook", "Registry.entry"} & set(calls), "the watch works"
            solver = SGD(parameters(max_iter=20))
            interval = Interval(calls)
            solver.add_coffee_break(interval, every_n_iter=5)
            solver.solve(net)
            assert interval.counting
            assert {"Storage.allocate", "Backend.compile"} & set(calls) == set()
            calls.clear()
            net.predict(nets.rows(7)[0], "scores")
            assert {"Candidates.find", "Selector.choose", "Backend.compile"} <= set(calls)
            calls.clear()
            net.predict(nets.rows(7)[0], "scores")
            net.forward_epoch()
            net.forward_epoch()
            assert calls.count("Backend.compile") == 1, "validation compiled once, prediction not again"
    finally:
        undo()
