"""Whole nets: the same bytes for any number of threads, close to mocha-cpu's; signals and stops."""

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from mocha_native.backend import NativeBackend
from nets import BODIES, assert_same, data, parameters, perceptron, train

import mocha_core as mocha
from mocha_core import layers, solvers
from mocha_core.testing.tolerances import assert_close


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("body", BODIES)
def test_same_bytes_twice_and_for_any_number_of_threads(isa, body, dtype):
    once = train(NativeBackend(threads=1), body, dtype=dtype)
    for n in (1, 2, 3):
        assert_same(once, train(NativeBackend(threads=n), body, dtype=dtype))


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("body", BODIES)
def test_agrees_with_cpu(isa, body, accumulate):
    found = train(NativeBackend(threads=2), body, accumulate=accumulate)
    for name, expected in train("cpu", body, accumulate=accumulate).items():
        assert_close(name, found[name], expected, 1e-4)


def test_objectives_agree_with_cpu_over_20_iterations():
    objectives = {}
    for backend in ("cpu", "native"):
        with mocha.System(backend, seed=2) as system:
            net = mocha.Net("net", system, [data(), *perceptron()])
            solver = solvers.SGD(parameters(20))
            solver.solve(net)
            objectives[backend] = net.runs.training_program(solver).objectives
    assert len(objectives["cpu"]) == 20
    np.testing.assert_allclose(objectives["native"], objectives["cpu"], rtol=1e-4)


def test_data_on_the_device_and_from_the_host_give_the_same_bytes():
    class Streaming(NativeBackend):
        name = "streaming"
        resident_bytes = 0

    assert_same(train(NativeBackend(threads=2)), train(Streaming(threads=2)))


LONG = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell ignores in the background
sys.path.insert(0, {folder!r})
import mocha_core as mocha
from mocha_core import solvers
from nets import data, parameters, perceptron

with mocha.System("native", threads={threads}) as system:
    net = mocha.Net("net", system, [data(), *perceptron()])
    solver = solvers.SGD(parameters(10**9))
    print("ready", flush=True)
    try:
        solver.solve(net)
    finally:
        print(solver.state.iteration, net.runs.half_updated, flush=True)
"""


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_end_a_run_that_is_in_c(number, status, threads):
    program = LONG.format(folder=os.path.dirname(__file__), threads=threads)
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "ready\n"
            time.sleep(1)
            process.send_signal(number)
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == status, err
    done, half = out.splitlines()[-1].split()
    assert int(done) > 0
    assert half == "False"


def test_stop_from_another_thread():
    with mocha.System(NativeBackend(threads=2)) as system:
        net = mocha.Net("net", system, [data(), *perceptron()])
        solver = solvers.SGD(parameters(10**8))
        timer = threading.Timer(0.3, solver.stop)
        timer.start()
        solver.solve(net)
        timer.join()
        assert 0 < solver.state.iteration < 10**8
        assert len(net.runs.training_program(solver).objectives) >= 1


def test_predict_and_validation():
    with mocha.System("cpu", seed=2) as cpu, mocha.System(NativeBackend(threads=2), seed=2) as native:
        found = []
        for system in (cpu, native):
            body = perceptron()
            train_net = mocha.Net("net", system, [data(), *body])
            accuracy = layers.AccuracyLayer(name="rate", bottoms=["y", "label"])
            test_net = mocha.Net("test", system, [data(batch=16, rows=41), *body, accuracy])
            solvers.SGD(parameters(5)).solve(train_net)
            objective = test_net.forward_epoch()
            rows = np.random.default_rng(3).standard_normal((23, 1, 12, 12))
            found.append((objective, test_net.statistics()["rate-accuracy"], train_net.predict(rows, "y")))
        assert found[0][1] == found[1][1]
        assert_close("objective", found[1][0], found[0][0], 1e-5)
        assert_close("prediction", found[1][2], found[0][2], 1e-4)
