"""What has to hold on a GPU: parity with the CPU, graphs, determinism, memory. The same tests run on the host, where
they prove themselves and everything but the device; those on a GPU are marked `gpu`."""

import runpy
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from gpu_backend import StrictCUDABackend
from host_backend import HostBackend
from mocha_cuda import program, tape

import mocha_core as mocha
from mocha_core import layers
from mocha_core.errors import BackendError
from mocha_core.graph.plan import Phase
from mocha_core.testing import BackendTests, standard_layers
from mocha_core.testing.inputs import filled
from mocha_core.testing.layer_case import LayerCase
from mocha_core.testing.tolerances import assert_close

TESTS = Path(__file__).parents[1]
trained = runpy.run_path(str(TESTS / "native" / "real_nets.py"))["trained"]
#: Of the nets, on the host, which takes its time, and on a GPU.
BATCH = {"host": 6, "gpu": 64}
ITERATIONS = {"host": 5, "gpu": 20}
#: (dtype, precision) to how close every layer has to be to the CPU's.
PARITY = {("float32", "float32"): 1e-5, ("float64", "float32"): 1e-10, ("float32", "tf32"): 3e-3}
#: Seconds, for one tool over the kernels of all layers.
PATIENCE = 45


@pytest.fixture(params=["host", pytest.param("gpu", marks=pytest.mark.gpu)])
def place(request):
    """Where the test runs."""
    return request.param


@pytest.fixture
def opened(place):
    """Makes the backend."""
    return {"host": HostBackend, "gpu": StrictCUDABackend}[place]


class TestOnHost(BackendTests):
    """What the kit asks of every backend."""

    backend = HostBackend


@pytest.mark.gpu
class TestOnGPU(BackendTests):
    """The same on the device."""

    backend = StrictCUDABackend


@pytest.mark.parametrize(("dtype", "precision"), PARITY)
@pytest.mark.parametrize("name", standard_layers.CASES)
def test_layers_give_what_they_give_on_the_cpu(opened, name, dtype, precision):
    """Tops, objective, statistics, and the gradients of bottoms and parameters, in both phases."""
    layer = standard_layers.make(name)
    bottoms = [filled(bottom, seed) for seed, bottom in enumerate(standard_layers.CASES[name][1])]
    for phase in (Phase.TRAIN, Phase.TEST):
        expected = LayerCase(layer, bottoms, "cpu", dtype).outcome(phase)
        found = LayerCase(layer, bottoms, opened(precision=precision), dtype).outcome(phase)
        assert found.keys() == expected.keys()
        for what, array in expected.items():
            assert_close(f"'{what}' in phase {phase}", found[what], array, PARITY[dtype, precision])


@pytest.mark.parametrize("net", ["lenet", "cifar10"])
def test_objectives_of_the_first_iterations(opened, place, net):
    """On a GPU twenty iterations on images, most of them as graphs. NumPy takes a second for some images of CIFAR-10's
    size."""
    n, batch = ITERATIONS[place], min(BATCH[place], {"lenet": 64, "cifar10": 16}[net])
    objectives, _ = trained(opened(), net, batch, n)
    expected, _ = trained("cpu", net, batch, n)
    assert len(objectives) == n
    np.testing.assert_allclose(objectives, expected, rtol=1e-4)


def digest(run):
    """Objectives and parameters as bytes."""
    objectives, parameters = run
    return [objectives.tobytes(), *(array.tobytes() for _, array in sorted(parameters.items()))]


@pytest.mark.parametrize("precision", ["float32", "tf32"])
@pytest.mark.parametrize("net", ["lenet", "cifar10"])
def test_two_deterministic_runs_give_identical_bytes(opened, place, net, precision):
    options = {"deterministic": True, "precision": precision}
    runs = [digest(trained(opened(**options), net, BATCH[place], ITERATIONS[place])) for _ in range(2)]
    assert runs[0] == runs[1]


def test_graphs_do_what_their_steps_do_one_by_one(opened, place, monkeypatch):
    """The device is given 1, 2, 4, 8, ... iterations at a time, of which four are a graph, and so is one."""
    monkeypatch.setattr(tape, "UNROLLED", 4)
    monkeypatch.setattr(program, "SECONDS", 1000)
    graphs, eager = opened(deterministic=True), opened(deterministic=True)
    launched = []

    def record(run, recorder=graphs.device.record):
        replay = recorder(run)
        return lambda: launched.append(None) or replay()

    graphs.device.record = record
    eager.device.record = lambda run: run
    n = 3 + ITERATIONS[place]
    found, expected = (digest(trained(backend, "lenet", BATCH[place], n)) for backend in (graphs, eager))
    assert 1 < len(launched) < n
    assert found == expected


def test_every_step_of_the_reference_nets_is_in_a_graph(opened, place):
    """Otherwise the host has something to do in every iteration."""
    real_nets = runpy.run_path(str(TESTS / "native" / "real_nets.py"))
    for name in ("lenet", "cifar10"):
        with mocha.System(opened(), seed=5) as system:
            net, solver_for = real_nets["open_net"](system, name, BATCH[place])
            uses = net.runs.training_program(solver_for(1)).kernels()
            splitting = [f"{use.layer}: {use.op} {use.half}" for use in uses if "splits the graph" in use.kernel]
            assert not splitting


def test_what_does_not_fit_names_the_layer_the_bytes_and_the_total(opened):
    image = np.zeros((2, 1, 1024, 1024), np.float32)
    body = [
        layers.MemoryDataLayer(name="data", data=[image], batch_size=2, tops=["data"]),
        layers.ConvolutionLayer(name="huge", n_filter=2**16, kernel=(1, 1), bottoms=["data"], tops=["y"]),
    ]
    blob = 2 * 2**16 * 2**20 * 4
    with mocha.System(opened()) as system:
        with pytest.raises(BackendError) as refused:
            mocha.Net("net", system, body).forward()
        message = str(refused.value)
        assert "Net 'net'" in message
        assert f"are more than backend '{system.backend.name}' can give, which has" in message
        assert "'huge" in message
        assert f"of {blob:,} bytes (512.0 GiB)" in message
        # The device is as good as before.
        small = [layers.MemoryDataLayer(name="data", data=[image], batch_size=2, tops=["data"])]
        small.append(layers.PoolingLayer(name="pool", kernel=(2, 2), stride=(2, 2), bottoms=["data"], tops=["y"]))
        net = mocha.Net("small", system, small, keep=["y"])
        net.forward()
        assert not net.blobs["y"].numpy().any()


@pytest.mark.gpu
@pytest.mark.parametrize("tool", ["memcheck", "racecheck"])
def test_own_kernels_under_compute_sanitizer(tool):
    """All standard layers without those that are NVIDIA's kernels: no access out of bounds, no race."""
    program = shutil.which("compute-sanitizer") or shutil.which("compute-sanitizer", path="/usr/local/cuda/bin")
    if program is None:
        pytest.skip("compute-sanitizer, which is part of the CUDA toolkit, is neither on PATH nor in /usr/local/cuda")
    selected = "test_layers and float32-float32 and not convolution and not product"
    # The tool's own process is not all there is to end.
    command = ["timeout", "-s", "KILL", str(PATIENCE), program, "--tool", tool, "--target-processes", "all"]
    # Libraries call what may fail, and know what to do then.
    command += ["--report-api-errors", "no"] if tool == "memcheck" else []
    command += ["--error-exitcode", "99", sys.executable, "-m", "pytest", "-q", "-W", "default"]
    command += ["-p", "no:cacheprovider", "-m", "gpu", "-k", selected, __file__]
    done = subprocess.run(command, capture_output=True, text=True, cwd=TESTS.parent)
    output = done.stdout + done.stderr
    if done.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL):
        pytest.skip(f"{tool} was not done after {PATIENCE} s; nothing that it had found until then ended it")
    if "Device not supported" in output:
        pytest.skip("compute-sanitizer does not support this device, as where it is virtualized")
    assert done.returncode == 0, output[-6000:]
    assert " passed" in output
