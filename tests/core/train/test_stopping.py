"""A run that is told to stop: by `solver.stop()`, by signals, once and twice, and in the middle of an update."""

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from functools import partial

import numpy as np
import pytest
from toys import nets
from toys.backends import BACKENDS
from toys.observe import contents, parameters
from toys.plain import Plain
from toys.plugin import Folding
from toys.sgd import SGD
from toys.stopping import PYTHONS_OWN, SIGNALS, Count, Diary, at, layers, send, solver_with, watched
from toys.stopping import handlers as handlers
from toys.stopping import net as net

import mocha_core as mocha
from mocha_core import hookimpl
from mocha_core.errors import StateError
from mocha_core.graph.plan import Section
from mocha_core.host import signal_watch
from mocha_core.host.interrupt import Stopped
from mocha_core.train.snapshot import capture, restore


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("half", ["forward", "backward"])
@pytest.mark.parametrize("name", BACKENDS)
def test_stop_finishes_the_iteration_and_a_second_solve_continues(name, half, accumulate):
    seen = []
    for stopped in (False, True):
        with mocha.System(BACKENDS[name](), dtype="float64", seed=3) as system:
            count = Count(6 * accumulate, half, lambda: solver.stop() if stopped else None)  # noqa: B023
            net = mocha.Net("net", system, watched(count))
            diary = Diary()
            solver = SGD(parameters(max_iter=20, accumulate=accumulate))
            solver.add_coffee_break(diary, every_n_iter=1000)
            solver.solve(net)
            if stopped:
                assert diary.entries == [("init", 0), ("enjoy", 0), ("stopped", 6), ("destroy", 6)]
                assert net.feeds["data"].cursor == 6 * nets.BATCH * accumulate
                assert count.seen == 6 * accumulate, "no minibatch more was run"
                solver.solve(net)
            assert solver.state.iteration == 20
            seen.append(capture(solver, net))
    for one, other in ((a.parameters | a.slots, b.parameters | b.slots) for a, b in [seen]):
        for key, array in one.items():
            np.testing.assert_array_equal(other[key], array, err_msg=key)
    assert seen[0].facts == seen[1].facts


@pytest.mark.parametrize("folding", [False, True])
def test_stop_with_updates_that_are_folded_into_backward(register, folding):
    if folding:
        register(Folding(), "mocha-folding")
    with mocha.System(BACKENDS["blocked"](), dtype="float64", seed=3) as system:
        net = mocha.Net("net", system, watched(Count(6, "forward", lambda: solver.stop())))
        solver = solver_with()
        solver.solve(net)
        assert solver.state.iteration == 6
        assert ("toy.dot+sgd" in {use.op for use in net.runs.last_program().kernels()}) == folding


def test_the_breaks_that_are_due_come_before_stopped(net):
    """As in an uninterrupted run; those that are not due are not taken, though this iteration is the last here."""
    entries = []
    often, seldom, epochs = (Diary(lambda *e, n=n: entries.append((n, *e))) for n in ("often", "seldom", "epochs"))
    stopping = Diary(at("enjoy", 4, lambda: solver.stop()))
    solver = solver_with((stopping, 1), (often, 2), (seldom, 3))
    solver.add_coffee_break(epochs, every_n_epoch=1)  # 20 rows in minibatches of 6: at iteration 4
    solver.solve(net)
    assert [e for e in entries if e[2] == 4] == [
        ("often", "enjoy", 4), ("epochs", "enjoy", 4), ("often", "stopped", 4), ("seldom", "stopped", 4),
        ("epochs", "stopped", 4), ("epochs", "destroy", 4), ("seldom", "destroy", 4), ("often", "destroy", 4),
    ]  # fmt: skip
    solver.solve(net)
    assert [i for n, e, i in entries if (n, e) == ("seldom", "enjoy")] == [0, 3, 6, 9, 12, 15, 18, 20]
    assert [i for n, e, i in entries if (n, e) == ("epochs", "enjoy")] == [0, 4, 7, 10, 14, 17, 20]


def test_stop_before_solve_and_in_the_last_iteration(net):
    diary = Diary()
    solver = solver_with((diary, 10))
    solver.stop()
    solver.solve(net)
    assert diary.entries == [("init", 0), ("enjoy", 0), ("stopped", 0), ("destroy", 0)]
    diary.at = at("enjoy", 20, lambda: solver.stop())
    solver.solve(net)
    assert diary.entries[4:] == [("init", 0), *(("enjoy", i) for i in (0, 10, 20)), ("destroy", 20)]
    solver.parameters = parameters(max_iter=30)
    solver.solve(net)
    assert solver.state.iteration == 30, "the flag was cleared"


def test_stop_from_another_thread(net):
    solver, started = solver_with(max_iter=10**9), threading.Event()
    solver.add_coffee_break(Diary(at("enjoy", 0, started.set)), every_n_iter=1000)
    stopper = threading.Thread(target=lambda: (started.wait(), solver.stop()))
    stopper.start()
    solver.solve(net)
    stopper.join()
    assert solver.state.iteration < 10**9


def test_the_end_is_announced_to_plugins(net, register):
    announced = []

    class Plugin:
        @hookimpl
        def mocha_solve_finished(self, solver, net):
            announced.append(solver.state.iteration)

    register(Plugin(), "listener")
    solver = solver_with((Diary(at("enjoy", 3, lambda: solver.stop())), 1))
    solver.solve(net)
    assert announced == [3]


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize(
    ("event", "iteration"), [("init", 0), ("enjoy", 0), ("enjoy", 5), ("stopped", 5), ("enjoy", 20), ("destroy", 20)]
)
def test_a_signal_anywhere_lets_that_finish_and_leaves_by_an_exception(net, event, iteration, number):
    """Here within a coffee break, of which there are two: the second is called as ever."""
    first, second = Diary(at(event, iteration, send(number))), Diary()
    if event == "stopped":
        second.at = at("enjoy", 5, lambda: solver.stop())
    solver = solver_with((first, 5), (second, 5))
    with pytest.raises((KeyboardInterrupt, SystemExit)) as caught:
        solver.solve(net)
    assert isinstance(caught.value, KeyboardInterrupt) == (number == signal.SIGINT)
    assert caught.value.code == 128 + number
    taken = [("enjoy", i) for i in range(0, iteration + 1, 5)]
    stopped = [("stopped", iteration)] if iteration < 20 else []
    assert second.entries == first.entries == [("init", 0), *taken, *stopped, ("destroy", iteration)]
    if iteration < 20:
        solver.solve(net)
        assert solver.state.iteration == 20


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("half", ["forward", "backward"])
def test_a_signal_in_a_minibatch_finishes_the_iteration(number, half, caplog):
    caplog.set_level("INFO", logger="mocha")
    with mocha.System(Plain(), dtype="float64", seed=3) as system:
        net = mocha.Net("net", system, watched(Count(6, half, send(number))))
        diary = Diary()
        solver = solver_with((diary, 1000))
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            solver.solve(net)
        assert diary.entries[2:] == [("stopped", 6), ("destroy", 6)]
        assert f"{signal.Signals(number).name}: finishing the iteration; again to abort at once" in caplog.messages
        assert "Stopping at iteration 6 of 20" in caplog.messages


def test_the_second_signal_aborts_at_once(net):
    """Within the same break: what comes after it there is not reached, and nothing is taken any more."""

    def twice():
        signal.raise_signal(signal.SIGINT)
        time.sleep(2 * signal_watch.BURST)
        with pytest.raises(KeyboardInterrupt) as ordinary:
            signal.raise_signal(signal.SIGINT)
        assert type(ordinary.value) is KeyboardInterrupt
        raise ordinary.value

    first, second = Diary(at("enjoy", 5, twice)), Diary()
    solver = solver_with((first, 5), (second, 5))
    with pytest.raises(KeyboardInterrupt) as caught:
        solver.solve(net)
    assert type(caught.value) is KeyboardInterrupt
    assert second.entries == [("init", 0), ("enjoy", 0), ("destroy", 5)]
    solver.solve(net)
    assert solver.state.iteration == 20, "nothing was half done"


@pytest.mark.parametrize("second", SIGNALS)
@pytest.mark.parametrize("first", SIGNALS)
def test_signals_at_one_time_count_as_one(net, first, second):
    """A terminal that is closed signals the process and its group, `timeout` too; systemd sends two kinds."""
    diary = Diary(at("enjoy", 5, lambda: [signal.raise_signal(number) for number in (first, second)]))
    solver = solver_with((diary, 5))
    with pytest.raises(Stopped) as caught:
        solver.solve(net)
    assert caught.value.number == first
    assert diary.entries[-2:] == [("stopped", 5), ("destroy", 5)]


def test_an_error_after_the_signal_is_not_hidden(net):
    def fail():
        signal.raise_signal(signal.SIGINT)
        raise ZeroDivisionError

    solver = solver_with((Diary(at("enjoy", 5, fail)), 5))
    with pytest.raises(ZeroDivisionError):
        solver.solve(net)
    solver.solve(net)
    assert solver.state.iteration == 20


def test_handlers_of_the_program_stay(net):
    received = []
    mine = lambda number, frame: (received.append(number), solver.stop())  # noqa: E731
    signal.signal(signal.SIGINT, mine)
    for number in SIGNALS[1:]:
        signal.signal(number, signal.SIG_IGN)
    seen = []

    def send_all():
        seen.extend(signal.getsignal(number) for number in SIGNALS)
        for number in SIGNALS:
            signal.raise_signal(number)

    diary = Diary(at("enjoy", 5, send_all))
    solver = solver_with((diary, 5))
    solver.solve(net)
    assert seen == [mine, signal.SIG_IGN, signal.SIG_IGN]
    assert received == [signal.SIGINT]
    assert diary.entries[-2:] == [("stopped", 5), ("destroy", 5)]
    assert [signal.getsignal(number) for number in SIGNALS] == seen
    for number, handler in zip(SIGNALS, PYTHONS_OWN, strict=True):
        signal.signal(number, handler)


def test_a_handler_that_a_break_installs_stays(net):
    mine = lambda number, frame: None  # noqa: E731
    solver = solver_with((Diary(at("init", 0, lambda: signal.signal(signal.SIGINT, mine))), 5))
    solver.solve(net)
    assert signal.getsignal(signal.SIGINT) is mine
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_outside_the_main_thread_no_handler_is_touched(net):
    seen = []
    solver = solver_with((Diary(lambda *_: seen.append([signal.getsignal(number) for number in SIGNALS])), 5))
    thread = threading.Thread(target=solver.solve, args=(net,))
    thread.start()
    thread.join()
    assert solver.state.iteration == 20
    assert all(handlers == PYTHONS_OWN for handlers in seen)


SCRIPT = """
import os, signal, sys, time
sys.path[:0] = {path!r}
from mocha_core.plugin.manager import plugin_manager
from toys import plugin
plugin_manager().add_plugin(plugin, plugin.NAME)
import mocha_core as mocha
from toys.stopping import Diary, at, layers, send, solver_with
with mocha.System("plain", seed=3) as system:
    net = mocha.Net("net", system, layers())
    times = {times}
    diary = Diary(at("enjoy", 5, lambda: [(send({number})(), time.sleep(0.1)) for _ in range(times)]))
    solver = solver_with((diary, 5))
    {solve}
print("went on")
"""


@pytest.mark.parametrize(
    ("number", "times", "solve", "status", "out"),
    [
        (signal.SIGINT, 1, "solver.solve(net)", 130, ""),
        (signal.SIGTERM, 1, "solver.solve(net)", 143, ""),
        (signal.SIGHUP, 1, "solver.solve(net)", 129, ""),
        (signal.SIGINT, 2, "solver.solve(net)", -signal.SIGINT, ""),
        (signal.SIGTERM, 2, "solver.solve(net)", -signal.SIGTERM, ""),
        (signal.SIGINT, 1, "try: solver.solve(net)\n    except KeyboardInterrupt: pass", 0, "went on\n"),
    ],
)
def test_exit_status(number, times, solve, status, out):
    here = os.path.dirname(__file__)
    script = SCRIPT.format(path=[os.path.dirname(here)], number=int(number), times=times, solve=solve)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.returncode == status, done.stderr
    assert done.stdout.endswith(out)
    assert "Stopping at iteration 5 of 20" in done.stdout or times == 2
    assert ("Traceback" in done.stderr) == (number == signal.SIGINT and times == 2)


def break_update(net, solver, number, error):
    """Raise `error` before the update with this number since the beginning, counted over all parameters."""
    program, counter = net.runs.training_program(solver), itertools.count(1)
    for bound in program.bound:
        if any(v.root.role == "parameter" for v in bound.step.writes):

            def run(original=bound.run):
                if next(counter) == number:
                    raise error
                original()

            bound.run = run


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
@pytest.mark.parametrize("folding", [False, True])
@pytest.mark.parametrize(("number", "iteration"), [(4 * 3 + 1, 3), (4 * 3 + 2, 3), (4 * 3 + 4, 3)])
def test_an_abort_between_two_updates_is_remembered(register, folding, error, number, iteration):
    """Four parameters; a snapshot puts all of them back, and the rest of the run is the uninterrupted one's."""
    if folding:
        register(Folding(), "mocha-folding")
    backend, seen = BACKENDS["blocked"], []
    for aborted in (False, True):
        with mocha.System(backend(), dtype="float64", seed=3) as system:
            net, solver = mocha.Net("net", system, layers()), solver_with(max_iter=2)
            solver.solve(net)
            saved = capture(solver, net)
            solver.parameters = parameters(max_iter=20)
            if aborted:
                break_update(net, solver, number - 8, error)
                with pytest.raises(error):
                    solver.solve(net)
                assert solver.state.iteration == iteration
                for again in (solver.solve, solver_with().solve, partial(capture, solver)):
                    with pytest.raises(StateError, match=r"one update ahead.*Load a snapshot"):
                        again(net)
                restore(saved, solver, net)
            solver.solve(net)
            seen.append(contents(net))
    for key, array in seen[0].items():
        np.testing.assert_array_equal(seen[1][key], array, err_msg=key)


@pytest.mark.parametrize("half", ["forward", "backward"])
@pytest.mark.parametrize("name", ["plain", "deferred"])
def test_an_abort_before_the_updates_leaves_a_state_to_go_on_from(name, half):
    seen = []
    for aborted in (False, True):

        def abort(aborted=aborted):
            if aborted:
                raise KeyboardInterrupt

        with mocha.System(BACKENDS[name](), dtype="float64", seed=3) as system:
            net, solver = mocha.Net("net", system, watched(Count(6, half, abort))), solver_with()
            if aborted:
                with pytest.raises(KeyboardInterrupt):
                    solver.solve(net)
                assert solver.state.iteration == 5
            solver.solve(net)
            seen.append(contents(net))
    for key, array in seen[0].items():
        np.testing.assert_array_equal(seen[1][key], array, err_msg=key)


def test_an_abort_in_an_update_of_a_backend_that_reports_late():
    with mocha.System(BACKENDS["deferred"](), dtype="float64", seed=3) as system:
        net, solver = mocha.Net("net", system, layers()), solver_with()
        program = net.runs.training_program(solver)
        updates = [b for b in program.bound if b.step.section is Section.UPDATE]
        (commands,) = (c for _, c in program.recorded[Section.UPDATE])
        commands[commands.index(updates[2].run)] = lambda: 1 / 0
        with pytest.raises(ZeroDivisionError):
            solver.solve(net)
        with pytest.raises(StateError, match="one update ahead"):
            solver.solve(net)
