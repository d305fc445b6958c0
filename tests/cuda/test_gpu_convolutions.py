"""cuDNN's convolutions on a GPU against the op's reference in double: the kernel, and every plan that may be chosen."""

import json
import os
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from convolution_case import NAN, Case, check_both_halves, close
from mocha_cuda.backend import CUDABackend
from mocha_cuda.cudnn.constants import Attribute, Kind
from mocha_cuda.cudnn.convolutions import Convolution, Convolutions, workspace_bytes
from mocha_cuda.cudnn.descriptors import Descriptor
from mocha_cuda.cudnn.graph import Operand
from mocha_cuda.cudnn.plans import Wants
from mocha_cuda.cudnn.problem import Direction
from mocha_cuda.nvrtc import VARIABLE

pytestmark = pytest.mark.gpu

GEOMETRIES = [
    pytest.param(((64, 1, 28, 28), 20, (5, 5), (1, 1), (0, 0), 1), id="LeNet-conv1"),
    pytest.param(((64, 20, 12, 12), 50, (5, 5), (1, 1), (0, 0), 1), id="LeNet-conv2"),
    pytest.param(((100, 32, 16, 16), 32, (5, 5), (1, 1), (2, 2), 1), id="CIFAR-10-conv2"),
    pytest.param(((8, 16, 16, 16), 32, (3, 3), (1, 1), (1, 1), 1), id="residual"),
    pytest.param(((3, 4, 9, 8), 6, (3, 2), (2, 1), (1, 0), 2), id="groups-strides"),
    pytest.param(((1, 1, 5, 5), 1, (5, 5), (9, 9), (0, 0), 1), id="one-result"),
]
#: Options, dtype, and how far off, of the largest value.
ARITHMETIC = [
    pytest.param({"precision": "tf32"}, "float32", 3e-3, id="tf32"),
    pytest.param({"precision": "float32"}, "float32", 1e-5, id="float32"),
    pytest.param({"precision": "bf16"}, "float32", 3e-2, id="bf16"),
    pytest.param({"precision": "tf32"}, "float64", 1e-10, id="float64"),
]
#: Plans of a problem that are tried.
MOST = 24


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One for all tests: compiling and measuring again in each of them takes minutes."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def cache(monkeypatch, folder):
    monkeypatch.setenv(VARIABLE, str(folder))


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize(("options", "dtype", "tolerance"), ARITHMETIC)
def test_the_kernel(rng, geometry, options, dtype, tolerance):
    case = Case(rng, CUDABackend(**options), *geometry, dtype)
    check_both_halves(case, tolerance)
    for found, expected in zip(case.backward(add=(True,) * 3, begin=1.0), case.expected()[1], strict=True):
        close(found, expected + 1, tolerance)


def each_plan(case, direction, wants, add=False, relu=False):
    """Every plan, the array it computes, and what runs it."""
    backend = case.backend
    device, convolutions = backend.device, backend.convolutions
    problem = case.kernel.plan(direction, relu, add).plan.graph.problem
    arrays = {Operand.X: case.array(case.x), Operand.W: case.array(case.w), Operand.Y: case.array(case.dy)}
    if problem.bias:
        arrays[Operand.BIAS] = case.array(case.b)
    made = {Direction.FORWARD: Operand.Y, Direction.BACKWARD_DATA: Operand.X, Direction.BACKWARD_FILTER: Operand.W}[
        direction
    ]
    with backend.running():
        plans = list(islice(convolutions.target.candidates(convolutions.target.graph(problem), wants), MOST))
    assert plans
    workspace = backend.empty((max(1, *map(workspace_bytes, plans)),), "int8")
    for plan in plans:
        yield plan, arrays[made], Convolution(device, convolutions.handle, plan).bind(arrays, workspace)


def computed(case, array, run, begin):
    """What it makes of an array that is filled with something."""
    case.backend.copy_from_numpy(array, np.full(array.shape, begin, str(array.dtype)))
    case.run(run)
    return case.backend.to_numpy(array)


@pytest.mark.parametrize("add", [False, True])
@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize(("options", "dtype", "tolerance"), [p for p in ARITHMETIC if p.id != "bf16"])
def test_every_plan(rng, geometry, options, dtype, tolerance, add):
    case = Case(rng, CUDABackend(**options), *geometry, dtype)
    y, (dx, dw, _) = case.expected()
    expected = {Direction.FORWARD: y, Direction.BACKWARD_DATA: dx, Direction.BACKWARD_FILTER: dw}
    wrong = []
    for direction in list(Direction)[add:]:
        for plan, array, run in each_plan(case, direction, case.kernel.wants, add):
            found = computed(case, array, run, 1.0 if add else NAN)
            error = np.abs(found - expected[direction] - add).max() / np.abs(expected[direction]).max()
            if not error < tolerance:
                wrong.append((str(direction), plan.choice, error))
    assert not wrong


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("exact", [False, True])
def test_what_is_deterministic_gives_the_same_bytes(rng, geometry, exact):
    case = Case(rng, CUDABackend(deterministic=True, precision="float32" if exact else "tf32"), *geometry)
    for direction in Direction:
        for plan, array, run in each_plan(case, direction, Wants(exact, deterministic=True)):
            assert len({computed(case, array, run, NAN).tobytes() for _ in range(5)}) == 1, plan.choice
    assert len({case.forward().tobytes() for _ in range(5)}) == 1
    assert len({b"".join(gradient.tobytes() for gradient in case.backward()) for _ in range(5)}) == 1


@pytest.mark.parametrize("geometry", GEOMETRIES[:3])
def test_a_graph_gives_the_same_bytes(rng, geometry):
    case = Case(rng, CUDABackend(deterministic=True), *geometry)
    for direction in Direction:
        for plan, array, run in each_plan(case, direction, case.kernel.wants):
            alone = computed(case, array, run, NAN)
            graph = case.backend.device.record(run)
            assert computed(case, array, graph, NAN).tobytes() == alone.tobytes(), plan.choice


def test_nan_stays(rng):
    case = Case(rng, CUDABackend(), (4, 3, 8, 8), 8, (3, 3), (1, 1), (0, 0), 1)
    case.x[0, 0, 0, 0] = NAN
    for plan, array, run in each_plan(case, Direction.FORWARD, Wants(), relu=True):
        assert np.isnan(computed(case, array, run, 0.0)[0, :, 0, 0]).all(), plan.choice


def test_what_was_measured_is_not_measured_again(rng, monkeypatch, tmp_path):
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    case = Case(rng, CUDABackend(), (8, 16, 16, 16), 32, (3, 3), (1, 1), (1, 1), 1)
    device = case.backend.device
    assert len(list(tmp_path.glob("cudnn-plan-*.json"))) == len(Direction)
    monkeypatch.setattr(device, "milliseconds", None)
    again = Convolutions(device)
    for direction in Direction:
        plan = case.kernel.plan(direction)
        assert again.plan(plan.plan.graph.problem, case.kernel.wants).choice == plan.choice


def test_the_description_of_the_device():
    """That of an H200, for which plans are made without one, has the same fields. MOCHA_CUDA_DEVICE_JSON keeps it."""
    convolutions = CUDABackend().convolutions
    handle = {Attribute.DEVICEPROP_HANDLE: convolutions.handle.pointer.value}
    properties = Descriptor(convolutions.library, Kind.DEVICEPROP, handle)
    text = b"".join(properties.get(Attribute.DEVICEPROP_JSON_REPRESENTATION)).rstrip(b"\0").decode()
    if "MOCHA_CUDA_DEVICE_JSON" in os.environ:
        Path(os.environ["MOCHA_CUDA_DEVICE_JSON"]).write_text(text + "\n")
    assumed = json.loads((Path(__file__).parent / "h200_device.json").read_text())
    assert set(assumed) <= set(json.loads(text))
