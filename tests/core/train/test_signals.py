"""Signals wherever a run may be, and in other people's processes: event loops, batch systems, forks, weeks."""

import asyncio
import gc
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress

import pytest
from toys import nets
from toys.accuracy import AccuracyLayer
from toys.backends import BACKENDS
from toys.memory import Arrays, MemoryLayer
from toys.plain import Plain
from toys.softmax_loss import SoftmaxLossLayer
from toys.stopping import PYTHONS_OWN, Count, Diary, at, layers, send, solver_with, watched
from toys.stopping import handlers as handlers
from toys.stopping import net as net

import mocha_core as mocha
from mocha_core import hookimpl
from mocha_core.errors import ConfigurationError, StateError
from mocha_core.host import interrupt
from mocha_core.host.interrupt import Interrupted, Stopped

WAIT = 60  # seconds, which no test takes


@pytest.fixture(autouse=True)
def no_patience(monkeypatch):
    monkeypatch.setattr(interrupt, "GRACE", 0.05)


def told_and_waiting(number=signal.SIGTERM):
    """Receives a signal, and then takes far too long."""
    signal.raise_signal(number)
    time.sleep(WAIT)
    pytest.fail("it was not abandoned")


class Hanging(Arrays):
    """A source whose fetch with this number receives a signal in the main thread, and does not come back."""

    left = 1
    released = threading.Event()

    def fetch(self, rows, epoch, out):
        Hanging.left -= 1
        if Hanging.left == 0:
            signal.pthread_kill(threading.main_thread().ident, signal.SIGTERM)
            Hanging.released.wait(WAIT)
        super().fetch(rows, epoch, out)


class HangingLayer(MemoryLayer):
    def open(self, seed):
        return Hanging(self.arrays, prefetch=self.prefetch)


@pytest.mark.parametrize("event", ["init", "enjoy"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_break_that_takes_long_is_abandoned(net, event, number):
    """A break that ends in time is finished, and all are told that the run stops."""
    iteration = 5 if event == "enjoy" else 0
    first, second = Diary(), Diary(at(event, iteration, lambda: told_and_waiting(number)))
    third = Diary()
    solver = solver_with((first, 5), (second, 5), (third, 5))
    with pytest.raises(Interrupted if number == signal.SIGINT else Stopped) as caught:
        solver.solve(net)
    assert caught.value.code == 128 + number
    if event == "init":
        assert first.entries == [("init", 0), ("destroy", 0)]
        assert third.entries == []
    else:
        end = [("stopped", 5), ("destroy", 5)]
        assert first.entries == [("init", 0), ("enjoy", 0), ("enjoy", 5), *end]
        assert second.entries == first.entries
        assert third.entries == [("init", 0), ("enjoy", 0), *end]
    solver.solve(net)
    assert solver.state.iteration == 20


@pytest.mark.parametrize("event", ["enjoy", "stopped", "destroy"])
def test_what_saves_is_finished(net, event):
    class Saving(Diary):
        must_finish = True

    def slow():
        signal.raise_signal(signal.SIGTERM)
        time.sleep(6 * interrupt.GRACE)

    iteration = 20 if event == "destroy" else 5
    saving = Saving(at(event, iteration, slow))
    solver = solver_with((saving, 5))
    if event == "stopped":
        solver.add_coffee_break(Diary(at("enjoy", 5, lambda: solver.stop())), every_n_iter=5)
    with pytest.raises(Stopped):
        solver.solve(net)
    assert saving.entries[-1] == ("destroy", iteration)
    assert (event, iteration) in saving.entries


def test_the_last_breaks_are_followed_by_stopped_where_one_is_abandoned(net):
    """Or else what was learned would not be saved."""
    saving = Diary()
    solver = solver_with((Diary(at("enjoy", 20, told_and_waiting)), 5), (saving, 100))
    with pytest.raises(Stopped):
        solver.solve(net)
    assert saving.entries[-2:] == [("stopped", 20), ("destroy", 20)]


def test_an_iteration_is_finished():
    def slow():
        signal.raise_signal(signal.SIGTERM)
        time.sleep(6 * interrupt.GRACE)

    with mocha.System(Plain(), seed=3) as system:
        net = mocha.Net("net", system, watched(Count(6, "backward", slow)))
        solver = solver_with()
        with pytest.raises(Stopped):
            solver.solve(net)
        assert solver.state.iteration == 6


@pytest.mark.parametrize("place", ["mocha_solve_started", "mocha_solve_finished"])
def test_a_plugin_that_takes_long_is_abandoned(net, register, place):
    plugin = type("Plugin", (), {place: hookimpl(lambda self, solver, net: told_and_waiting())})
    register(plugin(), "slow")
    with pytest.raises(Stopped):
        solver_with().solve(net)


def test_compiling_is_abandoned(register, monkeypatch):
    compile = Plain.compile
    monkeypatch.setattr(Plain, "compile", lambda self, *a: told_and_waiting())
    with mocha.System(Plain(), seed=3) as system:
        net = mocha.Net("net", system, layers())
        diary, solver = Diary(), solver_with()
        solver.add_coffee_break(diary, every_n_iter=100)
        with pytest.raises(Stopped):
            solver.solve(net)
        assert diary.entries == [("init", 0), ("enjoy", 0), ("stopped", 0), ("destroy", 0)]
        monkeypatch.setattr(Plain, "compile", compile)
        solver.solve(net)
        assert solver.state.iteration == 20


@pytest.mark.parametrize("run", ["forward_epoch", "predict"])
@pytest.mark.parametrize("name", ["plain", "deferred"])
def test_another_net_is_abandoned_and_can_be_used_again(name, run):
    with mocha.System(BACKENDS[name](), seed=3) as system:
        trained = mocha.Net("train", system, layers())
        count = Count(3, "forward", told_and_waiting)
        data, hidden, between, x, _ = watched(count)
        test = mocha.Net("test", system, [data, hidden, between, x, AccuracyLayer(name="a", bottoms=["x", "label"])])
        use = test.forward_epoch if run == "forward_epoch" else lambda: test.predict(nets.rows(20)[2], "x")
        published = []
        solver = solver_with((Diary(at("enjoy", 5, lambda: published.append(use()))), 5))
        with pytest.raises(Stopped):
            solver.solve(trained)
        assert published == []
        assert solver.state.iteration == 5
        assert test.feeds["data"].cursor == 0
        use()
        solver.solve(trained)


def test_many_short_waits_do_not_add_up_to_a_long_one(net):
    """A validation waits for each minibatch's data: its patience does not begin anew with each."""

    def endless():
        signal.raise_signal(signal.SIGTERM)
        end = time.monotonic() + WAIT
        while time.monotonic() < end:
            net.forward_epoch()
        pytest.fail("it was not abandoned")

    with pytest.raises(Stopped):
        solver_with((Diary(at("enjoy", 5, endless)), 5)).solve(net)


def test_a_solve_within_a_solve_is_stopped_with_it(net):
    """The inner one is saved, and the outer one's break does not go on as if it had ended."""
    inner_diary, outer_diary, after = Diary(), Diary(), []
    inner = solver_with((inner_diary, 5), (Diary(at("enjoy", 10, send(signal.SIGTERM))), 5))

    def train_another():
        with mocha.System(Plain(), seed=4) as system:
            inner.solve(mocha.Net("inner", system, layers()))
        after.append("went on")

    outer = solver_with((Diary(at("enjoy", 5, train_another)), 5), (outer_diary, 100))
    with pytest.raises(Stopped):
        outer.solve(net)
    assert inner_diary.entries[-2:] == [("stopped", 10), ("destroy", 10)]
    assert outer_diary.entries[-2:] == [("stopped", 5), ("destroy", 5)]
    assert after == []


def test_a_solve_that_begins_after_the_signal_does_not_train(net):
    inner = solver_with()

    def train_another():
        signal.raise_signal(signal.SIGINT)
        with mocha.System(Plain(), seed=4) as system:
            inner.solve(mocha.Net("inner", system, layers()))

    outer = solver_with((Diary(at("enjoy", 5, train_another)), 5))
    with pytest.raises(KeyboardInterrupt):
        outer.solve(net)
    assert (inner.state.iteration, outer.state.iteration) == (0, 5)


@pytest.mark.parametrize("prefetch", [False, True])
def test_waiting_for_data_is_abandoned_and_nothing_is_half_done(prefetch):
    Hanging.left, Hanging.released = 4, threading.Event()
    images, labels, _ = nets.rows()
    data = HangingLayer(name="data", batch_size=6, arrays=(images, labels), tops=("data", "label"), prefetch=prefetch)
    _, _, x, _ = layers()
    x = type(x)(name="x", output_dim=3, flatten=True, bottoms=["data"], tops=["x"])
    with mocha.System(Plain(), seed=3) as system:
        net = mocha.Net("net", system, [data, x, SoftmaxLossLayer(bottoms=["x", "label"])])
        diary, solver = Diary(), solver_with()
        solver.add_coffee_break(diary, every_n_iter=100)
        with pytest.raises(Stopped):
            solver.solve(net)
        done = solver.state.iteration
        assert done == 3 if not prefetch else done <= 3
        assert diary.entries[-2:] == [("stopped", done), ("destroy", done)]
        Hanging.released.set()
        solver.solve(net)
        assert solver.state.iteration == 20


def test_an_exception_that_is_swallowed_comes_again(net):
    def stubborn():
        with suppress(BaseException):
            told_and_waiting()
        time.sleep(WAIT)

    with pytest.raises(Stopped):
        solver_with((Diary(at("enjoy", 5, stubborn)), 5)).solve(net)


SIGUSR1 = signal.SIGUSR1


@pytest.mark.parametrize("signals", ["SIGUSR1", ("SIGUSR1", "SIGUSR2")])
def test_more_signals_stop_where_they_are_asked_for(net, signals):
    diary = Diary(at("enjoy", 5, send(SIGUSR1)))
    solver = solver_with((diary, 5))
    with pytest.raises(Stopped) as caught:
        solver.solve(net, signals=signals)
    assert caught.value.code == 128 + SIGUSR1
    assert diary.entries[-2:] == [("stopped", 5), ("destroy", 5)]
    assert signal.getsignal(SIGUSR1) == signal.SIG_DFL


@pytest.mark.parametrize(
    ("name", "message"),
    [("SIGNAL", "this system has no signal 'SIGNAL'. It has .*SIGUSR1"), ("SIGKILL", "SIGKILL cannot be handled")],
)
def test_signals_that_cannot_be_heard_are_refused(net, name, message):
    with pytest.raises(ConfigurationError, match=message):
        solver_with().solve(net, signals=[name])


def test_a_signal_that_the_program_handles_is_refused(net):
    mine = lambda number, frame: None  # noqa: E731
    signal.signal(SIGUSR1, mine)
    try:
        with pytest.raises(StateError, match=r"SIGUSR1 has a handler already, <function .* Call solver.stop\(\) in it"):
            solver_with().solve(net, signals=["SIGUSR1"])
        assert signal.getsignal(SIGUSR1) == mine
    finally:
        signal.signal(SIGUSR1, signal.SIG_DFL)


def test_more_signals_are_refused_outside_the_main_thread(net):
    errors = []

    def solve():
        try:
            solver_with().solve(net, signals=["SIGUSR1"])
        except StateError as error:
            errors.append(str(error))

    thread = threading.Thread(target=solve)
    thread.start()
    thread.join()
    assert errors == ["solve: signals reach the main thread only. Train there, or call solver.stop()."]


def test_an_event_loop_that_is_blocked_does_not_keep_ctrl_c(net):
    """`asyncio.run` has a handler of its own, which only marks a task as cancelled."""
    diary = Diary(at("enjoy", 5, send(signal.SIGINT)))
    solver, after = solver_with((diary, 5)), []

    async def main():
        solver.solve(net)
        after.append("went on")

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(main())
    assert diary.entries[-2:] == [("stopped", 5), ("destroy", 5)]
    assert after == []


@pytest.mark.parametrize("module", ["ipykernel.kernelbase", "trio._core._ki"])
def test_handlers_of_other_loops_do_not_keep_ctrl_c(net, module):
    """A notebook's cell that awaits, for one."""

    def cancels(number, frame):
        pytest.fail("the loop cannot act on it")

    cancels.__module__ = module
    signal.signal(signal.SIGINT, cancels)
    solver = solver_with((Diary(at("enjoy", 5, send(signal.SIGINT))), 5))
    with pytest.raises(KeyboardInterrupt):
        solver.solve(net)
    assert signal.getsignal(signal.SIGINT) is cancels
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_callback_of_an_event_loop_hears_the_signal_afterwards(net, number):
    diary, heard = Diary(at("enjoy", 5, send(number))), []
    solver = solver_with((diary, 5))

    async def main():
        asyncio.get_running_loop().add_signal_handler(number, heard.append, number)
        solver.solve(net)
        assert heard == []
        while not heard:
            await asyncio.sleep(0.001)

    asyncio.run(asyncio.wait_for(main(), WAIT))
    assert heard == [number]
    assert diary.entries[-2:] == [("stopped", 5), ("destroy", 5)]


def test_what_is_none_of_ours_reaches_the_event_loop(net):
    heard = []

    async def main():
        asyncio.get_running_loop().add_signal_handler(SIGUSR1, heard.append, SIGUSR1)
        solver_with((Diary(at("enjoy", 5, send(SIGUSR1))), 5)).solve(net)
        while not heard:
            await asyncio.sleep(0.001)

    asyncio.run(asyncio.wait_for(main(), WAIT))
    assert heard == [SIGUSR1]


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_forked_process_has_pythons_handlers_and_does_not_stop_its_parent(net):
    """Such as a worker of a pool, which the pool ends by SIGTERM."""

    def fork():
        if child := os.fork():
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGTERM
            return
        try:
            if [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == PYTHONS_OWN:
                os.kill(os.getpid(), signal.SIGTERM)
        finally:
            os._exit(1)

    solver = solver_with((Diary(at("enjoy", 5, fork)), 5))
    solver.solve(net)
    assert solver.state.iteration == 20


def test_many_runs_leave_nothing_behind(net):
    def left():
        gc.collect()
        logger = logging.getLogger("mocha")
        descriptors = os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else ()
        return threading.active_count(), len(descriptors), len(logger.handlers), logger.level, logger.propagate

    solver_with(max_iter=1).solve(net)
    before = left()
    for _ in range(100):
        solver_with(max_iter=1).solve(net)
    assert left() == before
    assert signal.set_wakeup_fd(-1) == -1


def test_a_handler_that_a_break_installs_hears_its_signal_alone(net):
    heard = []

    def install():
        signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))

    solver = solver_with((Diary(at("enjoy", 5, install)), 5), (Diary(at("enjoy", 10, send(signal.SIGTERM))), 5))
    solver.solve(net)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    assert (heard, solver.state.iteration) == ([signal.SIGTERM], 20)


PIPES = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
SCRIPT = """
import ctypes, os, signal, sys, threading
sys.path[:0] = [{here!r}]
from mocha_core.plugin.manager import plugin_manager
from toys import plugin
plugin_manager().add_plugin(plugin, plugin.NAME)
import mocha_core as mocha
from toys.stopping import Diary, at, layers, solver_with

def in_c():
    "In C, which no signal interrupts, until a line comes."
    library, mutex = ctypes.CDLL(None), ctypes.create_string_buffer(256)
    library.pthread_mutex_init(mutex, None)
    library.pthread_mutex_lock(mutex)
    free = lambda: (sys.stdin.readline(), library.pthread_mutex_unlock(mutex))
    threading.Thread(target=free, daemon=True).start()
    print("waiting", flush=True)
    library.pthread_mutex_lock(mutex)

with mocha.System("plain", seed=3) as system:
    net = mocha.Net("net", system, layers())
    solver_with((Diary(at("{event}", {iteration}, in_c)), 5)).solve(net)
"""


@pytest.mark.parametrize(("event", "iteration"), [("init", 0), ("enjoy", 5)])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_second_signal_ends_the_process_wherever_it_is(number, event, iteration):
    script = SCRIPT.format(here=os.path.dirname(os.path.dirname(__file__)), event=event, iteration=iteration)
    with subprocess.Popen([sys.executable, "-c", script], **PIPES) as process:
        while process.stdout.readline() != "waiting\n":
            assert process.poll() is None
        for _ in range(2):
            process.send_signal(number)
            time.sleep(0.5)
        try:
            assert process.wait(WAIT / 2) == 128 + number
        finally:
            process.kill()


AT_A_PROMPT = """
import sys
from mocha_core.host import signal_watch
sys.ps1, signal_watch.DEADLINE = ">>> ", 0.05
try:
    exec(compile(sys.argv[1], "script", "exec"))  # given a string, CPython marks a KeyboardInterrupt as uncaught
except KeyboardInterrupt:
    print("still here", flush=True)
"""


def test_at_a_prompt_the_second_ctrl_c_does_not_end_the_process():
    """Nor in a notebook, whose kernel has more to lose."""
    script = SCRIPT.format(here=os.path.dirname(os.path.dirname(__file__)), event="enjoy", iteration=5)
    command = [sys.executable, "-c", AT_A_PROMPT, script]
    with subprocess.Popen(command, **PIPES) as process:
        while process.stdout.readline() != "waiting\n":
            assert process.poll() is None
        for _ in range(2):
            process.send_signal(signal.SIGINT)
            time.sleep(0.5)
        assert process.communicate("go on\n", timeout=WAIT)[0].endswith("still here\n")
    assert process.returncode == 0


def test_a_hangup_that_is_ignored_stays_ignored(net):
    """As by nohup."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    solver = solver_with((Diary(at("enjoy", 5, send(signal.SIGHUP))), 5))
    solver.solve(net)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    assert solver.state.iteration == 20
