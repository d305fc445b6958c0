"""Sources that raise, hang, write nonsense or are forked: an error at the consumer, no wrong rows, no threads left."""

import contextlib
import gc
import operator
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import traceback
from pathlib import Path

import numpy as np
import pytest
from toys.inner_product import InnerProductLayer
from toys.observe import parameters
from toys.plain import Plain
from toys.sgd import SGD
from toys.square_loss import SquareLossLayer

import mocha_core as mocha
from mocha_core.describe.layer import DataLayer
from mocha_core.describe.source import Source
from mocha_core.errors import DataError, FileError, MochaError
from mocha_core.graph.value import Spec
from mocha_core.net.feed import Feed
from mocha_core.net.prefetch import Prefetcher

ROWS, BATCH = 12, 3


@pytest.fixture(autouse=True)
def no_hang_and_no_thread_left():
    """A test that waits for ever is woken by an error; every prefetching thread has ended behind it."""

    def wake(*_):
        raise TimeoutError("the test hangs")

    before = signal.signal(signal.SIGALRM, wake)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)
    if prefetching():  # of a net in a cycle; collecting what the whole test run has made takes most of a second
        gc.collect()
    for thread in prefetching():
        thread.join(timeout=10)
    assert not prefetching()


def prefetching():
    return [thread for thread in threading.enumerate() if thread.name.startswith("prefetch")]


class Numbers(Source):
    """Row i is [i, i]; `before(rows)` and `write(rows, out)` may misbehave."""

    def __init__(self, prefetch=True, before=lambda rows: None, write=None, order=None):
        self.fixed = True
        self.rows, self.specs, self.prefetch = ROWS, (Spec((2,), "float32"),), prefetch
        self.before, self.write, self.own_order = before, write, order
        self.closed = False

    def order(self, epoch):
        return super().order(epoch) if self.own_order is None else self.own_order(epoch)

    def fetch(self, rows, epoch, out):
        self.before(rows)
        if self.write is not None:
            return self.write(rows, out)
        out[0][...] = rows[:, np.newaxis]

    def close(self):
        self.closed = True


class NumbersLayer(DataLayer):
    source: Source
    tops: tuple = ("data",)

    def open(self, seed):
        return self.source


def feed(**options):
    layer = NumbersLayer(name="numbers", batch_size=BATCH, source=Numbers(**options))
    return Feed(layer, layer.source, "float32")


def consume(f, batches):
    """The rows of so many minibatches from the cursor on."""
    seen = []
    f.begin(True)
    for _ in range(batches):
        (array,) = f.fetch(BATCH)
        assert (array[:, 0] == array[:, 1]).all()
        seen += array[:, 0].astype(int).tolist()
        f.seek(f.cursor + BATCH)
    return seen


class Trouble:
    """Raises an error where the minibatch holds a row, as long as it is `on`."""

    def __init__(self, error, row, slowly=False):
        self.error, self.row, self.slowly, self.on = error, row, slowly, True

    def __call__(self, rows):
        if self.on and self.row in rows:
            if self.slowly:
                time.sleep(0.05)  # the consumer waits by now
            raise self.error


ERRORS = [
    FileError("the disk is gone"),
    DataError("row 7 is bad"),
    OSError(5, "Input/output error"),
    ValueError("nonsense"),
    MemoryError("no room"),
    StopIteration(),
    StopAsyncIteration(),
    AssertionError(),
    SystemExit(3),
    KeyboardInterrupt(),
    GeneratorExit(),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("row", [0, 6, 11], ids=["first", "middle", "last"])
@pytest.mark.parametrize("way", ["direct", "ahead", "waited for"])
def test_what_a_source_raises_reaches_the_consumer(error, row, way):
    trouble = Trouble(error, row, slowly=way == "waited for")
    f = feed(prefetch=way != "direct", before=trouble)
    good = row // BATCH
    assert consume(f, good) == list(range(good * BATCH))
    if way == "ahead":
        time.sleep(0.02)
    for _ in range(2):
        with pytest.raises(BaseException) as caught:  # noqa: PT011
            consume(f, 1)
        raised = caught.value
        if isinstance(error, MochaError) or not isinstance(error, Exception):
            assert raised is error
        else:
            assert isinstance(raised, DataError)
            assert raised.__cause__ is error
            message = rf"Layer 'numbers': fetch\(\) of its source, Numbers, failed: {type(error).__name__}: "
            assert caught.match(message)
        assert "in __call__" in "".join(traceback.format_exception(raised)), "where it was raised is shown"
        assert f.cursor == good * BATCH
    trouble.on = False
    expected = [r % ROWS for r in range(good * BATCH, good * BATCH + 2 * ROWS)]
    assert consume(f, 2 * ROWS // BATCH) == expected
    f.close()
    assert f.source.closed
    assert not prefetching()


@pytest.mark.parametrize("prefetch", [False, True])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"write": lambda rows, out: out[0].__setitem__(..., np.zeros((4, 2)))}, r"ValueError: could not broadcast"),
        ({"write": lambda rows, out: out[0].__setitem__(..., np.zeros((3, 3)))}, r"ValueError: could not broadcast"),
        ({"write": lambda rows, out: operator.setitem(out, 0, np.zeros((3, 2)))}, r"TypeError: 'tuple' object"),
        ({"write": lambda rows, out: out[0].__setitem__(..., "seven")}, r"ValueError: could not convert"),
        ({"write": lambda rows, out: out[0].__setitem__(..., 1j)}, r"failed: (TypeError|ComplexWarning): "),
        ({"write": lambda rows, out: out[1].__setitem__(..., 0)}, r"IndexError: tuple index out of range"),
        ({"write": lambda rows, out: [np.zeros((3, 2))]}, r"TypeError: expected rows in the arrays .* received list"),
        (
            {"order": lambda epoch: np.arange(ROWS - 1)},
            r"order\(\) .*expected row numbers of shape \(12,\), received \(11,\)",
        ),
        ({"order": lambda epoch: 1 / 0}, r"order\(\) of its source, Numbers, failed: ZeroDivisionError"),
    ],
)
def test_a_source_that_does_not_do_its_work(prefetch, options, message):
    f = feed(prefetch=prefetch, **options)
    for _ in range(2):
        with pytest.raises(DataError, match=rf"^Layer 'numbers': .*{message}"):
            consume(f, 1)
    f.close()


class Gate:
    """Holds the source up at a row until it is opened."""

    def __init__(self, row):
        self.row, self.open, self.reached = row, threading.Event(), threading.Event()

    def __call__(self, rows):
        if self.row in rows:
            self.reached.set()
            self.open.wait(60)


class Interrupt(Exception):
    pass


@contextlib.contextmanager
def interrupted(after=0.1):
    """The block is left by an exception from a signal handler."""

    def interrupt(*_):
        raise Interrupt

    before = signal.signal(signal.SIGUSR1, interrupt)
    timer = threading.Timer(after, os.kill, (os.getpid(), signal.SIGUSR1))
    timer.start()
    try:
        with pytest.raises(Interrupt):
            yield
    finally:
        timer.join()
        signal.signal(signal.SIGUSR1, before)


def test_an_exception_in_the_consumer_while_it_waits():
    gate = Gate(row=6)
    f = feed(before=gate)
    assert consume(f, 2) == [0, 1, 2, 3, 4, 5]
    for _ in range(2):
        with interrupted():
            consume(f, 1)
    threading.Timer(0.05, gate.open.set).start()
    assert consume(f, 4) == [6, 7, 8, 9, 10, 11, 0, 1, 2, 3, 4, 5]
    f.close()
    assert f.source.closed


def test_a_source_that_never_comes_back_is_left_behind(monkeypatch, caplog):
    monkeypatch.setattr(Prefetcher, "PATIENCE", 0.05)
    gate = Gate(row=3)
    f = feed(before=gate)
    assert consume(f, 1) == [0, 1, 2]
    gate.reached.wait(10)
    f.close()
    assert not f.source.closed, "it is in use"
    assert "Layer 'numbers': its source has not come back for 0.05 seconds" in caplog.text
    assert len(prefetching()) == 1
    gate.open.set()


def test_one_of_two_feeds_fails_and_both_go_on_in_step():
    def numbers(name, top, **options):
        return NumbersLayer(name=name, batch_size=BATCH, source=Numbers(**options), tops=[top])

    trouble = Trouble(OSError("gone"), 6)
    layers = [
        numbers("left", "p"),
        numbers("right", "q", before=trouble),
        SquareLossLayer(name="l", bottoms=["p", "q"]),
    ]
    with mocha.System(Plain()) as system:
        net = mocha.Net("net", system, layers)
        seen = []

        def forward(n):
            for _ in range(n):
                assert net.forward() == 0
                p, q = net.blobs["p"].numpy(), net.blobs["q"].numpy()
                np.testing.assert_array_equal(p, q)
                seen.extend(p[:, 0].astype(int).tolist())

        forward(2)
        for _ in range(3):
            with pytest.raises(DataError, match=r"Layer 'right': .*OSError: gone"):
                net.forward()
        assert len(prefetching()) <= 2
        trouble.on = False
        forward(6)
        assert seen == [*range(ROWS), *range(ROWS)]
    assert not prefetching()
    assert all(layer.source.closed for layer in layers[:2])


def regression(system, **options):
    data = NumbersLayer(name="numbers", batch_size=BATCH, source=Numbers(**options), tops=["data"])
    x = InnerProductLayer(name="x", output_dim=2, bottoms=["data"], tops=["x"])
    return mocha.Net("net", system, [data, x, SquareLossLayer(bottoms=["x", "data"])])


def test_solving_goes_on_after_the_error_as_if_there_had_been_none():
    def solve(troubled):
        with mocha.System(Plain(), dtype="float64", seed=3) as system:
            trouble = Trouble(OSError("gone"), 6)
            trouble.on = troubled
            net, solver = regression(system, before=trouble), SGD(parameters(max_iter=9, lr_policy=0.001))
            if troubled:
                for _ in range(2):
                    with pytest.raises(DataError, match=r"Layer 'numbers'.*OSError: gone"):
                        solver.solve(net)
                    assert solver.state.iteration == 2
                trouble.on = False
            solver.solve(net)
            assert solver.state.iteration == 9
            return net.parameters["x"]["weight"].numpy()

    np.testing.assert_array_equal(solve(troubled=True), solve(troubled=False))


@pytest.mark.parametrize("end", ["destroy", "close"])
def test_threads_end_with_the_net_and_the_system(end):
    system = mocha.System(Plain())
    net = regression(system)
    net.forward()
    assert len(prefetching()) == 1
    net.destroy() if end == "destroy" else system.close()
    assert not prefetching()


# Other processes.


def in_a_child(work):
    """The exit status of a forked process that does some work; woken if it hangs."""
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(30)
        status = 1
        with contextlib.suppress(BaseException):
            status = 0 if work() else 2
        os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.parametrize("state", ["idle", "fetching", "failed"])
def test_a_forked_process_starts_a_thread_of_its_own(state):
    gate = Gate(row=6 if state == "fetching" else -1)
    trouble = Trouble(OSError("gone"), 6 if state == "failed" else -1)

    def before(rows):
        gate(rows)
        trouble(rows)

    f = feed(before=before)
    assert consume(f, 1) == [0, 1, 2]
    if state == "fetching":
        gate.reached.wait(10)
    else:
        time.sleep(0.02)

    def work():
        gate.row = trouble.row = -1
        rows = consume(f, 4)
        alive = len(prefetching())
        f.close()
        return rows == [3, 4, 5, 6, 7, 8, 9, 10, 11, 0, 1, 2] and alive == 1

    assert in_a_child(work) == 0
    gate.open.set()
    if state == "failed":
        with pytest.raises(DataError, match="gone"):
            consume(f, 2)
        f.seek(BATCH)
    trouble.on = False
    assert consume(f, 4) == [3, 4, 5, 6, 7, 8, 9, 10, 11, 0, 1, 2], "and the parent goes on"
    f.close()


LEAVING = """
    import signal, sys, time
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell ignores in the background
    sys.path.insert(0, {toys!r})
    sys.path.insert(0, {here!r})
    from test_misbehaving_sources import *

    def before(rows):
        if 6 in rows:
            print("fetching", flush=True)
            time.sleep({held})
            print("fetched", flush=True)

    Prefetcher.PATIENCE = {patience}
    net = regression(mocha.System(Plain()), before=before)
    net.forward()
    {end}
"""


@pytest.mark.parametrize(
    "end", ["time.sleep(0.3)", "raise SystemExit(0)", "threading.Thread(target=net.forward).start()"]
)
@pytest.mark.parametrize(("held", "patience", "fetched"), [(0.5, 30, True), (1000, 0.3, False)])
def test_the_interpreter_exits_behind_its_threads(end, held, patience, fetched):
    """It waits for a fetch in hand, but not for one that hangs."""
    here = Path(__file__).parent
    code = LEAVING.format(toys=str(here.parent), here=str(here), held=held, patience=patience, end=end)
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert ("fetched" in done.stdout.split()) == ("fetching" in done.stdout.split() and fetched)


@pytest.mark.parametrize("signals", [1, 2])
def test_a_signal_ends_the_process_though_a_fetch_hangs(signals):
    """It does not wait as long as it would at an end in peace."""
    here = Path(__file__).parent
    end = "SGD(parameters(max_iter=100)).solve(net)"
    code = LEAVING.format(toys=str(here.parent), here=str(here), held=1000, patience=1000, end=end)
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout.readline() == "fetching\n"
        time.sleep(0.2)
        for _ in range(signals):
            run.send_signal(signal.SIGINT)
            time.sleep(0.1)
        try:
            assert run.wait(30) in (130, -signal.SIGINT)
        finally:
            run.kill()


@pytest.mark.parametrize(("field", "value"), [("rows", None), ("rows", 8.0), ("specs", "x"), ("specs", [(2,)])])
def test_a_source_that_does_not_say_what_it_holds(field, value):
    class Wrong(Source):
        rows = 8
        specs = (Spec((2,), "float32"),)

        def fetch(self, rows, epoch, out):
            out[0][...] = 1

    source = Wrong()
    setattr(source, field, value)

    class WrongLayer(DataLayer):
        def open(self, seed):
            return source

    with pytest.raises(DataError, match=r"Layer 'w': expected its source, Wrong, to have rows, an integer, and specs"):
        Feed(WrongLayer(name="w", tops=["x"], batch_size=4), source, "float32")
