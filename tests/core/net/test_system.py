"""Opening a backend: by name, by default, by environment, and why one cannot be opened."""

from types import SimpleNamespace

import numpy as np
import pytest
from toys.blocked import Blocked
from toys.deferred import Deferred
from toys.plain import Plain

import mocha_core as mocha
from mocha_core.errors import BackendError, ConfigurationError
from mocha_core.graph.array_api import DTYPES, FUNCTIONS
from mocha_core.net import system
from mocha_core.net.system import unavailable
from mocha_core.plugin.registry import Candidates, Registry
from mocha_core.testing.backends import check_namespace


def fine():
    return ""


def missing():
    return "no device"


def broken():
    raise OSError("driver too old")


@pytest.fixture
def backends(monkeypatch):
    """A registry of its own, so that installed backends do not matter."""
    registry, kernels = Registry("backend"), Candidates("kernel")
    kernels.plugin = "umbrella"
    kernels.add("relu", "closing", "umbrella_kernels:Relu")
    monkeypatch.setattr(system, "registries", lambda: SimpleNamespace(backends=registry, kernels=kernels, fusions=[]))
    monkeypatch.delenv("MOCHA_BACKEND", raising=False)
    return registry


def test_by_name_by_object_and_with_options():
    with mocha.System("blocked", seed=5) as opened:
        assert type(opened.backend) is Blocked
    backend = Plain()
    with mocha.System(backend) as opened:
        assert opened.backend is backend
    with mocha.System("deferred", resident=False) as opened:
        assert opened.backend.resident_bytes == 0


def test_options_of_a_backend_that_is_made_already():
    with pytest.raises(ConfigurationError, match=r"options resident are for .* constructor Deferred\(\.\.\.\)"):
        mocha.System(Deferred(), resident=False)


def test_the_best_available_one_is_the_default(backends, monkeypatch):
    import sys

    module = SimpleNamespace(fine=fine, missing=missing, broken=broken)
    monkeypatch.setitem(sys.modules, "acme_probes", module)
    backends.add("cheap", Plain, priority=1)
    backends.add("best", Blocked, priority=5, available="acme_probes:missing")
    backends.add("good", Blocked, priority=3, available="acme_probes:fine")
    backends.add("old", Blocked, priority=9, available="acme_probes:broken")
    assert type(mocha.System().backend) is Blocked
    assert [unavailable(n) for n in ("cheap", "best", "good", "old")] == [
        "",
        "no device",
        "",
        "OSError: driver too old",
    ]
    with pytest.raises(BackendError, match="Backend 'best' is not available: no device"):
        mocha.System("best")
    monkeypatch.setenv("MOCHA_BACKEND", "cheap")
    assert type(mocha.System().backend) is Plain
    assert type(mocha.System("good").backend) is Blocked
    monkeypatch.setenv("MOCHA_BACKEND", "nothing")
    with pytest.raises(BackendError, match="No backend 'nothing'"):
        mocha.System()


def test_a_probe_that_ends_the_process_is_a_reason(backends, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "acme_probes", SimpleNamespace(leave=lambda: sys.exit("no driver")))
    backends.add("leaving", Blocked, priority=9, available="acme_probes:leave")
    backends.add("good", Plain, priority=3)
    assert unavailable("leaving") == "SystemExit: no driver"
    assert type(mocha.System().backend) is Plain


def test_without_any_backend(backends):
    with pytest.raises(BackendError, match=r"No backend is available\. Install one: pip install mocha-cpu"):
        mocha.System()
    backends.add("spoon", dict)
    with pytest.raises(BackendError, match="Backend 'spoon' is not a mocha_core"):
        mocha.System("spoon")


@pytest.fixture
def closed(backends):
    """The backends that were closed; they are registered as "closing"."""
    closed = []

    class Closing(Plain):
        def close(self):
            closed.append(self)

    backends.add("closing", Closing)
    return closed


def test_closing_closes_the_backend_once(closed):
    with pytest.raises(ZeroDivisionError), mocha.System("closing") as opened:
        _ = 1 / 0
    opened.close()
    assert len(closed) == 1


def test_a_backend_that_was_given_is_not_changed_and_not_closed(closed, backends):
    backend = backends.get("closing")()
    backend.prefer = {"relu": "acme"}
    with mocha.System(backend) as first, mocha.System(backend, prefer={"relu": "umbrella"}) as second:
        assert (first.backend, backend.prefer) == (backend, {"relu": "acme"})
        assert second.backend.prefer == {"relu": "umbrella"}
        assert second.backend.xp is backend.xp
    assert not closed


def test_numpy_is_an_array_namespace_and_gaps_are_named():
    check_namespace(np, "NumPy")
    gaps = SimpleNamespace(**{name: None for name in (*DTYPES, *FUNCTIONS) if name not in ("tanh", "uint64")})
    with pytest.raises(BackendError, match=r"array namespace of 'toy' lacks uint64, tanh\."):
        check_namespace(gaps, "'toy'")


def test_a_program_runs_inside_the_backend_s_context():
    entered = []

    class Limited(Plain):
        def running(self):
            from contextlib import contextmanager

            @contextmanager
            def limits():
                entered.append(True)
                yield

            return limits()

    from toys import nets

    with mocha.System(Limited()) as opened:
        net = mocha.Net("net", opened, [nets.data(), *nets.body()])
        net.forward()
        net.forward_epoch()
        assert entered, "to clear memory"
        entered.clear()
        net.forward()
        assert len(entered) == 1
        net.forward_epoch()
        assert len(entered) == 2, "once for all minibatches"
