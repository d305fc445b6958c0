"""The device through CuPy, of which there is as much on the host as it uses."""

import gc
import importlib
import sys
from contextlib import nullcontext

import fake_cupy
import numpy as np
import pytest
from fake_cublaslt import FakeLibrary

import mocha_core as mocha
from mocha_core import layers, neurons, solvers
from mocha_core.errors import BackendError, ConfigurationError


@pytest.fixture
def cupy(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy)
    monkeypatch.setattr("mocha_cuda.requirements.LIBRARIES", {})
    for name in ("device", "staging", "nvrtc"):
        monkeypatch.delitem(sys.modules, f"mocha_cuda.{name}", raising=False)
    monkeypatch.setattr(importlib.import_module("mocha_cuda.nvrtc"), "code", fake_cupy.code)
    return fake_cupy


@pytest.fixture
def device(cupy):
    from mocha_cuda.device import Device

    return Device(0)


def test_there_is_no_such_device(cupy):
    with pytest.raises(BackendError, match=r"device=2: expected 0 to 1, this machine has 2 CUDA devices"):
        mocha.System("cuda", device=2)


def test_the_device_is_not_for_us(cupy, monkeypatch):
    def refused():
        raise cupy.CUDARuntimeError("cudaErrorDevicesUnavailable")

    monkeypatch.setattr(cupy.cuda, "Stream", refused)
    with pytest.raises(BackendError, match="device=1 cannot be used: cudaErrorDevicesUnavailable"):
        mocha.System("cuda", device=1)


@pytest.mark.parametrize(
    "option", [{"deterministic": 1}, {"fuse": "no"}, {"precision": "fp8"}, {"precision": None}, {"device": -1}]
)
def test_options_that_are_none(cupy, option):
    (name,) = option
    with pytest.raises(ConfigurationError, match=name):
        mocha.System("cuda", **option)


def test_a_closed_system_gives_its_memory_back(cupy):
    with mocha.System("cuda") as system:
        stream = system.backend.device.stream
        assert "released" not in stream.history
    assert stream.history[-1] == "released"


def test_what_it_says_of_itself(device):
    assert (device.name, device.architecture, device.multiprocessors) == ("fake", 90, 2)
    assert device.free_bytes() == (1 << 30) + 5


@pytest.mark.parametrize("size", [0, 1, 5000, 100_000])
def test_uploads_arrive_and_what_was_read_may_change(device, size):
    arrays = [device.empty((size,), "float32") for _ in range(10)]
    source = np.arange(size)
    for i, array in enumerate(arrays):
        device.copy_from_numpy(array, source)
        source += i + 1
    for i, array in enumerate(arrays):
        assert device.to_numpy(array).tolist() == (np.arange(size) + i * (i + 1) // 2).tolist()


@pytest.mark.parametrize("size", [1, 5000, 100_000])
def test_uploads_stop_at_a_fault(device, size):
    status, array = device.empty((), "int32"), device.empty((size,), "float32")
    for fault, written in ((0, 1), (3, 2), (0, 3)):
        device.copy_from_numpy(status, np.int32(fault))
        with device.guarded(status):
            device.copy_from_numpy(array, np.full(size, written))
    assert set(device.to_numpy(array)) == {3}
    device.copy_from_numpy(status, np.int32(4))
    with device.guarded(status):
        device.copy_from_numpy(array, np.full(size, 4))
    assert set(device.to_numpy(array)) == {3}
    device.copy_from_numpy(array, np.full(size, 5))
    assert set(device.to_numpy(array)) == {5}


def test_a_graph_is_launched_as_often_as_asked_and_not_while_it_is_recorded(device, tmp_path):
    family = tmp_path / "grow.cu"
    family.write_text(
        '#include "mocha.cuh"\nKERNEL(grow)(const REAL *x, REAL *y, int n) { FOR_EACH(i, n) y[i] += x[i]; }'
    )
    x, y = device.empty((3,), "float32"), device.empty((3,), "float32")
    device.copy_from_numpy(x, np.float32([1, 2, 3]))
    device.copy_from_numpy(y, np.zeros(3))
    kernel = device.kernel(family, "grow", "float32")
    arguments = (x, y, np.int32(3))
    graph = device.record(lambda: device.launch(kernel, (1,), 256, arguments))
    assert device.to_numpy(y).tolist() == [0, 0, 0]
    with device.running():
        graph()
        graph()
    assert device.to_numpy(y).tolist() == [2, 4, 6]


def test_memory_that_others_freed_is_uploaded_to_when_they_are_done_with_it(device, cupy):
    """CuPy frees memory that its stream still computes with: it is given to what comes later in that stream."""
    *_, copies = (stream for stream in cupy.Stream.by_ptr.values() if stream.non_blocking)
    small, large = (device.empty((size,), "float32") for size in (10_000, 20_000))
    for array in [small] * 8 + [large] * 8:
        device.copy_from_numpy(array, np.zeros(array.shape))
    grown = [device.stream, 40_000] * 4 + [40_000] * 4
    assert copies.history == [*grown, *([device.stream, 80_000] * 4), *([80_000] * 4)]


@pytest.mark.parametrize("shape", [(100_001,), (50, 1000), (3, 50_000), (1, 1, 70_000), (2, 3, 16_384)])
@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_large_uploads_take_little_memory(device, monkeypatch, shape, dtype):
    """A data set may fill half of the device."""
    monkeypatch.setattr(importlib.import_module("mocha_cuda.staging"), "MOST", 1 << 16)
    array, source = device.empty(shape, dtype), np.arange(np.prod(shape)).reshape(shape)[..., ::-1] % 100
    device.copy_from_numpy(array, source)
    np.testing.assert_array_equal(device.to_numpy(array), source)
    device.copy_from_numpy(array, np.asarray(3))
    assert (device.to_numpy(array) == 3).all()
    pinned = [int(entry.split()[0]) for entry in device.stream.history if str(entry).endswith("pinned")]
    assert 0 < max(pinned) <= 1 << 16


@pytest.mark.parametrize("error", [None, KeyError])
def test_nothing_is_collected_while_a_graph_is_recorded(device, error):
    """What an old system leaves might wait for the device, which is an error then."""
    enabled = []

    def run():
        enabled.append(gc.isenabled())
        if error:
            raise error

    assert gc.isenabled()
    with pytest.raises(error) if error else nullcontext():
        device.record(run)
    assert enabled == [False]
    assert gc.isenabled()


def test_time_is_that_of_the_device(device):
    runs = []
    with device.running():
        assert device.milliseconds(lambda: runs.append(1)) == 1.0
    assert runs == [1]


@pytest.mark.parametrize("kind", ["CUDARuntimeError", "CUDADriverError"])
def test_what_cuda_reports_is_an_error_with_a_way_out(device, kind):
    error = getattr(fake_cupy, kind)("cudaErrorIllegalAddress: an illegal memory access was encountered")
    with (
        pytest.raises(
            BackendError, match=r"^fake, device=0: CUDA failed: .*illegal.*MOCHA_CUDA_GRAPHS=0.*CUDA_LAUNCH_BLOCKING=1"
        ) as raised,
        device.running(),
    ):
        raise error
    assert raised.value.__cause__ is error


def test_a_device_that_cannot_be_left_either_is_the_same_error(device, cupy, monkeypatch):
    """After an illegal address every function fails, and so does the one that makes another device the current one."""
    error = cupy.CUDARuntimeError("cudaErrorIllegalAddress: an illegal memory access was encountered")

    def leave(*_):
        raise error

    monkeypatch.setattr(cupy.Device, "__exit__", leave)
    with pytest.raises(BackendError, match="CUDA failed: cudaErrorIllegalAddress"), device.running():
        raise error


def test_kernels_that_the_driver_does_not_load(device, cupy, monkeypatch):
    def refused(module, code):
        raise cupy.CUDADriverError("CUDA_ERROR_UNSUPPORTED_PTX_VERSION: unsupported toolchain")

    monkeypatch.setattr(cupy.cuda.function.Module, "load", refused)
    monkeypatch.setattr("mocha_cuda.nvrtc.version", lambda: (13, 5))
    monkeypatch.setattr("mocha_cuda.nvrtc.architectures", lambda: (75, 80))
    with pytest.raises(
        BackendError,
        match=r"driver, for CUDA 13\.0, does not load the kernels 'dropout\.cu', made by NVRTC 13\.5 for "
        r"compute_80: CUDA_ERROR_UNSUPPORTED_PTX_VERSION.*update the driver",
    ):
        device.kernel("dropout", "dropout", "float32")


def test_what_fails_while_a_graph_is_recorded_ends_the_recording(device):
    def fail():
        raise KeyError("from within")

    with pytest.raises(KeyError, match="from within"):
        device.record(fail)
    assert device.record(lambda: None)


def trained(backend, iterations=50):
    rng = np.random.default_rng(0)
    x, labels = rng.standard_normal((200, 1, 6, 6)).astype("float32"), rng.integers(0, 5, 200)
    data = layers.MemoryDataLayer(name="data", data=[x, labels], batch_size=20, tops=["x", "label"])
    hidden = layers.InnerProductLayer(name="h", output_dim=8, neuron=neurons.Tanh(), bottoms=["x"], tops=["h"])
    # Wide, so that the library has its backward, too.
    y = layers.InnerProductLayer(name="y", output_dim=20, bottoms=["h"], tops=["y"])
    loss = layers.SoftmaxLossLayer(name="loss", bottoms=["y", "label"])
    with mocha.System(backend, seed=1) as system:
        net = mocha.Net("net", system, [data, hidden, y, loss])
        solvers.SGD(mocha.SolverParameters(max_iter=iterations, momentum=0.9, lr_policy=0.05)).solve(net)
        return [p.numpy() for group in net.parameters.values() for p in group.values()]


def test_training_through_it_is_as_on_the_cpu(cupy, tmp_path, monkeypatch):
    """Products of matrices come to a cuBLASLt of the test's."""
    fake = FakeLibrary(tmp_path, lambda stream, work: cupy.Stream.by_ptr[stream].do(work))
    monkeypatch.setattr("mocha_cuda.cublaslt.matmuls.library", lambda: fake.lt)
    for found, expected in zip(trained("cuda"), trained("cpu"), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    assert {product.epilogue.name for product in fake.products} == {"BIAS", "BGRADB", "DEFAULT"}
