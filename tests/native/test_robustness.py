"""Forks, Python's threads, interrupts, and numbers that no machine has room for."""

import _thread
import os
import signal
import subprocess
import sys
import threading
import time
import weakref

import numpy as np
import pytest
from mocha_native import program as native_program
from mocha_native.backend import NativeBackend
from nets import BODIES, assert_same, data, parameters, perceptron, train
from real_nets import NETS, open_net, trained

import mocha_core as mocha
from mocha_core import layers, solvers
from mocha_core.errors import ConfigurationError, MochaError
from mocha_core.host import cpus as host_cpus

SOAK = os.environ.get("MOCHA_SOAK") == "1"
FORKS = 500 if SOAK else 50
forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")


def ends_well(child, seconds=60):
    """Waits for a forked child; one that hangs is killed."""
    deadline = time.monotonic() + seconds
    while (ended := os.waitpid(child, os.WNOHANG))[0] == 0:
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return False
        time.sleep(0.002)
    return ended[1] == 0


def forked(work):
    """The process id of a child that does it, and ends with status 0 if that raised nothing."""
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        except BaseException:
            os._exit(1)
    return child


@forks
def test_children_train_after_their_parent_did():
    expected = train(NativeBackend(threads=3))
    for trial in range(FORKS):
        child = forked(lambda: assert_same(expected, train(NativeBackend(threads=3))))
        assert ends_well(child), trial
        train(NativeBackend(threads=2), max_iter=1)  # the parent goes on, too


@forks
def test_a_child_goes_on_with_the_net_of_its_parent():
    def objectives(net, solver, more):
        solver.solve(net)
        net.runs.train(net.runs.training_program(solver), more, 10, solver.schedule(10, more))
        return net.runs.training_program(solver).objectives

    def begin():
        system = mocha.System(NativeBackend(threads=3), seed=2)
        net = mocha.Net("net", system, [data(), *perceptron()])
        solver = solvers.SGD(parameters(10))
        solver.solve(net)
        return net, solver

    net, solver = begin()
    expected = objectives(net, solver, 10)
    net, solver = begin()
    assert ends_well(forked(lambda: np.testing.assert_array_equal(objectives(net, solver, 10), expected)))
    np.testing.assert_array_equal(objectives(net, solver, 10), expected)


@forks
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_children_of_a_process_whose_other_threads_train():
    expected = train(NativeBackend(threads=2))
    stop = threading.Event()

    def work():
        while not stop.is_set():
            train(NativeBackend(threads=2))

    workers = [threading.Thread(target=work) for _ in range(2)]
    for worker in workers:
        worker.start()
    try:
        for trial in range(FORKS // 10):
            child = forked(lambda: assert_same(expected, train(NativeBackend(threads=2))))
            assert ends_well(child), trial
    finally:
        stop.set()
        for worker in workers:
            worker.join()


def test_eight_nets_in_eight_python_threads():
    def perceptron_bytes(threads):
        return {n: a.tobytes() for n, a in train(NativeBackend(threads=threads), "perceptron", 60).items()}

    def net_bytes(name, threads):
        objectives, learned = trained(NativeBackend(threads=threads), name, 20, 4)
        return {"objectives": objectives.tobytes()} | {n: a.tobytes() for n, a in learned.items()}

    works = [perceptron_bytes, *(lambda threads, name=name: net_bytes(name, threads) for name in NETS)]
    serial = [work(2) for work in works]
    results = [None] * 8

    def run(i):
        results[i] = works[i % len(works)](1 + i % 4)

    workers = [threading.Thread(target=run, args=(i,)) for i in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for i, result in enumerate(results):
        assert result == serial[i % len(works)], i


def test_a_run_keeps_what_it_writes_to_while_another_thread_misuses_its_program():
    with mocha.System(NativeBackend(threads=1)) as system:
        program = mocha.Net("net", system, [data(), *perceptron()]).runs.training_program(solvers.SGD(parameters()))
        stop = np.zeros(1, np.int32)
        worker = threading.Thread(target=program.iterate, args=(10**7, {}, stop))
        worker.start()
        while worker.is_alive() and len(program.objectives) != 10**7:
            time.sleep(0.001)
        objectives = weakref.ref(program.objectives)
        program.iterate(1, {})
        assert len(program.objectives) == 1
        assert worker.is_alive()
        assert objectives() is not None
        stop[0] = 1
        worker.join()
        assert objectives() is None


def test_systems_of_different_threads_at_once():
    expected = train(NativeBackend(threads=1), max_iter=12)
    systems = [mocha.System(NativeBackend(threads=n), seed=2) for n in (3, 1, 2, 5)]
    nets = [mocha.Net("net", system, [data(), *perceptron()]) for system in systems]
    solver = solvers.SGD(parameters(12))
    for i in range(0, 12, 3):
        for net in nets:
            net.runs.train(net.runs.training_program(solver), 3, i, solver.schedule(i, 3))
    for net in nets:
        for layer, group in net.parameters.items():
            for name, parameter in group.items():
                assert parameter.numpy().tobytes() == expected[f"{layer}.{name}"].tobytes()


@pytest.mark.parametrize("body", BODIES)
def test_more_threads_than_cores(body):
    assert_same(
        train(NativeBackend(threads=1), body, 5), train(NativeBackend(threads=4 * host_cpus.processors() + 1), body, 5)
    )


@pytest.mark.parametrize("limit", [{"OMP_THREAD_LIMIT": "2"}, {"OMP_DYNAMIC": "true"}, {"OMP_NESTED": "true"}])
def test_openmp_may_give_fewer_threads_than_were_asked_for(limit):
    work = f"""
import sys
sys.path.insert(0, {os.path.dirname(__file__)!r})
from mocha_native import compiled
from mocha_native.backend import NativeBackend
from nets import assert_same, train
compiled.WORTH = 0.0
assert_same(train(NativeBackend(threads=1)), train(NativeBackend(threads=7)))
"""
    done = subprocess.run([sys.executable, "-c", work], env=os.environ | limit, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("threads", [1025, 2**70])
def test_so_many_threads_that_openmp_would_end_the_process(threads):
    with pytest.raises(ConfigurationError, match=rf"at most \d+ threads, received {threads}\."):
        mocha.System("native", threads=threads)


def test_other_python_threads_run_meanwhile(monkeypatch):
    """The call that runs the program would take half an hour; another thread ends it."""
    monkeypatch.setattr(native_program, "SECONDS", 1800.0)
    with mocha.System(NativeBackend(threads=2)) as system:
        net = mocha.Net("net", system, [data(), *perceptron()])
        solver = solvers.SGD(parameters(10**9))
        timer = threading.Timer(0.2, solver.stop)
        timer.start()
        solver.solve(net)
        timer.join()
    assert 0 < solver.state.iteration < 10**9


def test_an_interrupt_is_answered_within_a_second():
    """The best of five tries: the machine may have other things to do."""
    # A shell starts what runs in the background with SIGINT ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        interrupt()
    finally:
        signal.signal(signal.SIGINT, before)


def interrupt():
    with mocha.System(NativeBackend(threads=2), seed=2) as system:
        net, solver_for = open_net(system, "lenet", 20)
        solver = solver_for(10**5)
        program, schedule = net.runs.training_program(solver), solver.schedule(0, 10**5)
        program.iterate(1, schedule)
        waits = []
        while len(waits) < 5 and min(waits, default=2) > 1:
            sent = []
            timer = threading.Timer(0.2, lambda sent=sent: (sent.append(time.monotonic()), _thread.interrupt_main()))
            timer.start()
            with pytest.raises(KeyboardInterrupt):
                program.iterate(10**5, schedule)
            waits.append(time.monotonic() - sent[0])
            timer.join()
            assert program.done > 0
            assert not program.half_updated
    assert min(waits) < 1


HUGE = 2**62
ABSURD = {
    "features": lambda: [layers.InnerProductLayer(name="y", output_dim=HUGE, bottoms=["data"], tops=["y"])],
    "int32": lambda: [layers.InnerProductLayer(name="y", output_dim=2**31, bottoms=["data"], tops=["y"])],
    "filters": lambda: [layers.ConvolutionLayer(name="y", n_filter=HUGE, kernel=(3, 3), bottoms=["data"], tops=["y"])],
    "pad": lambda: [
        layers.ConvolutionLayer(name="y", n_filter=1, kernel=(3, 3), pad=(2**31, 2**31), bottoms=["data"], tops=["y"])
    ],
    "kernel": lambda: [
        layers.ConvolutionLayer(
            name="y", n_filter=1, kernel=(2**33, 2**33), pad=(2**33, 2**33), bottoms=["data"], tops=["y"]
        )
    ],
    "two layers": lambda: [
        layers.InnerProductLayer(name="h", output_dim=2**20, bottoms=["data"], tops=["h"]),
        layers.InnerProductLayer(name="y", output_dim=2**44, bottoms=["h"], tops=["y"]),
    ],
}


@pytest.mark.parametrize("what", ABSURD)
def test_sizes_that_overflow_are_refused_before_anything_is_taken(what):
    with mocha.System(NativeBackend(threads=2)) as system:
        loss = layers.SoftmaxLossLayer(name="loss", bottoms=["y", "label"])
        with pytest.raises(MochaError, match=r"'?y"):
            solvers.SGD(parameters(1)).solve(mocha.Net("net", system, [data(), *ABSURD[what](), loss]))
        # A smaller one runs, in the same system.
        solvers.SGD(parameters(1)).solve(mocha.Net("small", system, [data(), *perceptron()]))


def test_a_batch_that_overflows():
    with mocha.System(NativeBackend(threads=2)) as system, pytest.raises(MochaError, match="batch"):
        solvers.SGD(parameters(1)).solve(mocha.Net("net", system, [data(batch=2**60, rows=40), *perceptron()]))
