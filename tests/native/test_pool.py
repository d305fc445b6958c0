"""The threads that wait for programs: forks, ends of the process, many callers at once, and how many run a program."""

import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from mocha_native import compiled, get_include
from mocha_native._native import lib
from mocha_native.backend import NativeBackend
from nets import assert_same, data, parameters, perceptron, train

import mocha_core as mocha
from mocha_core import solvers
from mocha_core.host import cpus as host_cpus

TASKS = Path("/proc/self/task")
parallel = pytest.mark.skipif(not lib.mocha_parallel, reason="built without OpenMP")
linux = pytest.mark.skipif(not TASKS.exists(), reason="counts threads as Linux shows them")
forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
BEGIN = f"""
import os, signal, sys, threading
sys.path.insert(0, {os.path.dirname(__file__)!r})
from mocha_native import compiled
from mocha_native.backend import NativeBackend
from nets import assert_same, train
compiled.WORTH = 0.0
expected = train(NativeBackend(threads=1), max_iter=2)
def check(threads=3):
    assert_same(expected, train(NativeBackend(threads=threads), max_iter=2))
def names(task):
    try:
        with open(f"/proc/self/task/{{task}}/comm") as file:
            return file.read().strip()
    except OSError:
        return "ended"
def members():
    return [int(task) for task in os.listdir("/proc/self/task") if names(task) == "mocha-native"]
"""


def ends(work, **environment):
    """Run a program in a process of its own, which must end by itself and say nothing."""
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + work], env=os.environ | environment, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("end", ["", "sys.exit(0)", "os._exit(0)", "os.kill(os.getpid(), 0)"])
def test_a_process_ends_while_its_threads_wait(end):
    ends(f"check()\n{end}")


def test_a_process_ends_while_threads_of_python_use_the_pool():
    ends("for n in (2, 3, 4): threading.Thread(target=check, args=(n,)).start()")


@forks
@linux
@parallel
def test_children_and_their_children_have_threads_of_their_own():
    ends("""
check()
assert len(members()) == 2
def descend(generations):
    assert not members()
    check()
    assert len(members()) == 2
    if generations:
        assert os.waitpid(fork(generations - 1), 0)[1] == 0
def fork(generations):
    child = os.fork()
    if child == 0:
        try:
            descend(generations)
            os._exit(0)
        except BaseException:
            os._exit(1)
    return child
for _ in range(10):
    assert os.waitpid(fork(2), 0)[1] == 0
check()
assert len(members()) == 2
""")


@linux
@parallel
def test_threads_are_made_once():
    ends("""
check(3)
before = members()
for threads in (2, 3):
    check(threads)
assert members() == before
check(5)
assert len(members()) == 4
""")


@linux
@parallel
def test_waiting_threads_follow_the_affinity_of_the_one_that_calls():
    ends("""
check(3)
allowed = os.sched_getaffinity(0)
for mask in ({min(allowed)}, allowed):
    os.sched_setaffinity(0, mask)
    check(3)
    assert [os.sched_getaffinity(task) for task in members()] == [mask] * 2
""")


@pytest.mark.parametrize("environment", [{"OMP_PROC_BIND": "true"}, {"OMP_THREAD_LIMIT": "1"}, {"OMP_STACKSIZE": "1M"}])
def test_variables_of_openmp(environment):
    ends("check()", **environment)


@linux
@parallel
def test_signals_are_for_threads_of_python():
    ends("""
caught = []
signal.signal(signal.SIGUSR1, lambda *_: caught.append(threading.get_ident()))
check()
for _ in range(20):
    os.kill(os.getpid(), signal.SIGUSR1)
check()
assert set(caught) == {threading.get_ident()}
""")


def test_many_callers_at_once():
    """More threads of Python than members."""
    expected = train(NativeBackend(threads=1))
    wrong = []

    def work(threads):
        for _ in range(5):
            try:
                assert_same(expected, train(NativeBackend(threads=threads)))
            except AssertionError as error:
                wrong.append(error)

    workers = [threading.Thread(target=work, args=(1 + i % 4,)) for i in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


@pytest.mark.parametrize("worth", [0.0, 1e-9, 1e-4, 1.0])
def test_how_many_threads_run_an_iteration_changes_no_result(monkeypatch, worth):
    """With 1e-9 both ways are measured; with 1 s one thread runs all."""
    expected = train(NativeBackend(threads=1), max_iter=200)
    monkeypatch.setattr(compiled, "WORTH", worth)
    for threads in (2, 3):
        assert_same(expected, train(NativeBackend(threads=threads), max_iter=200))


def test_a_quota_changes_nothing_but_the_number_of_threads(monkeypatch):
    expected = train(NativeBackend(threads=2))
    monkeypatch.delenv(host_cpus.VARIABLE, raising=False)
    for quota in (1, 2):
        monkeypatch.setattr(host_cpus, "quota", lambda root=None, quota=quota: quota)
        backend = NativeBackend()
        assert backend.threads <= quota
        assert_same(expected, train(backend))


def paced(worth, threads):
    """The pace of a program, after some iterations."""
    system = mocha.System(NativeBackend(threads=threads), seed=2)
    with pytest.MonkeyPatch.context() as patch, system:
        patch.setattr(compiled, "WORTH", worth)
        net = mocha.Net("net", system, [data(), *perceptron()])
        solver = solvers.SGD(parameters(10**6))
        program = net.runs.training_program(solver)
        for i in range(30):
            net.runs.train(program, 5, i * 5, solver.schedule(i * 5, 5))
        return program._tape.beginning.pace


def test_a_program_measures_its_iterations():
    pace = paced(1.0, 2)
    assert pace.taken[0] > 0
    assert pace.iterations[0] > 0


@pytest.mark.parametrize("worth", [0.0, 1.0])
def test_one_thread_measures_nothing(worth):
    assert list(paced(worth, 1).taken) == [0, 0]


@parallel
def test_a_member_that_waits_is_woken():
    """Between runs, longer than a member looks for work."""
    backend = NativeBackend(threads=3)
    x = np.arange(64, dtype="float32") - 32
    kept = (x > 0).astype("int8")
    run = compiled.Compiled(backend, "dropout_backward_float32", [x, kept, x], [64, 0], [1.0])
    for _ in range(20):
        time.sleep(0.001)
        run()
    np.testing.assert_array_equal(x, np.maximum(np.arange(64) - 32, 0))


CSRC = Path(__file__).parents[2] / "plugins" / "mocha_native" / "csrc"
SOURCES = [Path(__file__).with_name("pool.c"), *(CSRC / name for name in ("executor.c", "pool.c", "pace.c"))]
FLAGS = ["-std=c11", "-g", "-O1", "-fopenmp", f"-I{CSRC}", f"-I{get_include()}"]


@pytest.mark.parametrize(("sanitizer", "forks"), [("thread", []), ("address,undefined", ["forks"])])
def test_the_executor_alone_under_sanitizers(tmp_path, sanitizer, forks):
    """Without Python: leaks count, too, while threads wait for ever."""
    program, compiler = tmp_path / "pool", os.environ.get("CC", "gcc")
    (tmp_path / "empty.c").write_text("int main(void) { return 0; }\n")
    environment = {k: v for k, v in os.environ.items() if k not in ("LD_PRELOAD", "ASAN_OPTIONS")}

    def made(*sources):
        command = [compiler, *FLAGS, f"-fsanitize={sanitizer}", *map(str, sources), "-o", str(program), "-lpthread"]
        return subprocess.run(command, capture_output=True, text=True, env=environment)

    def ran(*arguments):
        return subprocess.run([program, *arguments], capture_output=True, text=True, env=environment, timeout=300)

    if shutil.which(compiler) is None or made(tmp_path / "empty.c").returncode or ran().returncode:
        pytest.skip(f"{compiler} has no sanitizer '{sanitizer}' that runs here")
    build = made(*SOURCES)
    assert build.returncode == 0, build.stderr
    done = ran(*forks)
    assert done.returncode == 0, done.stderr
