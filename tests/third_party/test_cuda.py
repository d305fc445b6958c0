"""A third party's CUDA kernels: compiled from its own sources, and in the graph. They run on the host here."""

import shutil
import sys

import numpy as np
import pytest
from third_parties import HERE

sys.path.append(str(HERE.parent / "cuda"))

if shutil.which("g++") is None:
    pytest.skip("the kernels are compiled by g++", allow_module_level=True)

from acme_solver.nesterov import AcmeNesterov, AcmeNesterovUpdate
from acme_swish.swish import Swish
from acme_swish_cuda.nesterov import CUDANesterov
from acme_swish_cuda.swish import CUDASwish
from against_reference import check
from host_backend import HostBackend
from mocha_cuda import nvrtc

import mocha_core as mocha
from mocha_core import hookimpl, layers
from mocha_core.api import BackendError, Kernel, plugin_manager
from mocha_core.testing.inputs import constant, distinct

SOURCES = [CUDASwish.family, CUDANesterov.family]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_swish(dtype):
    check(Swish(1.5), [distinct((40, 7), low=-3, high=3)], dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_nesterov(dtype):
    w, g, velocity = np.random.default_rng(1).standard_normal((3, 3000))
    cells = [np.asarray(0.05), np.asarray(0.9), np.asarray(0, np.int32)]
    check(AcmeNesterovUpdate(multiplier=2.0, fault=3), [w, g, velocity, *cells], dtype)


def trained(backend):
    """The parameters after some iterations, and the program."""
    rng = np.random.default_rng(4)
    data = constant([rng.standard_normal((12, 6)), rng.standard_normal((12, 3))])
    with mocha.System(backend, seed=3, dtype="float64") as system:
        net = mocha.Net("net", system, [
            layers.MemoryDataLayer(name="data", data=data, batch_size=4, tops=["x", "t"]),
            layers.InnerProductLayer(name="h", output_dim=5, bottoms=["x"], tops=["h"]),
            layers.SwishLayer(name="swish", bottoms=["h"], tops=["s"]),
            layers.InnerProductLayer(name="y", output_dim=3, bottoms=["s"], tops=["y"]),
            layers.SquareLossLayer(name="loss", bottoms=["y", "t"]),
        ])  # fmt: skip
        solver = AcmeNesterov(mocha.SolverParameters(max_iter=5, lr_policy=0.05, momentum=0.9))
        solver.solve(net)
        return [p.numpy() for group in net.parameters.values() for p in group.values()], net.runs.training_program(
            solver
        )


def test_a_net_of_its_kernels_is_one_graph():
    parameters, program = trained(HostBackend())
    uses = [use for use in program.kernels() if use.op.startswith("acme.")]
    assert {use.kernel for use in uses} == {"CUDASwish", "CUDANesterov"}
    assert {use.plugin for use in uses} == {"acme-swish-cuda"}
    assert not [use for use in program.kernels() if "splits the graph" in use.kernel]
    for found, expected in zip(parameters, trained("cpu")[0], strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_its_updates_of_all_parameters_are_one_launch():
    _, program = trained(HostBackend())
    launches = [b.run for b in program.bound if b.step.call.op.name == "acme.nesterov"]
    assert [len(getattr(launch, "parameters", ())) for launch in launches] == [4, 0, 0, 0]


class Functions(Kernel):
    """A kernel of functions that are compiled already: it launches them in the current stream."""

    def __init__(self, captured):
        self.captured = captured

    def forward(self, ins, outs, add):
        return lambda: np.multiply(ins[0], 1 / (1 + np.exp(-ins[0])), out=outs[0])

    def backward(self, ins, outs, add):
        def run():
            s = 1 / (1 + np.exp(-ins[1]))
            np.multiply(ins[0], s + ins[1] * s * (1 - s), out=outs[0])

        return run


@pytest.mark.parametrize("captured", [True, False])
def test_a_kernel_says_itself_whether_a_graph_can_hold_it(captured):
    class Rival:
        @hookimpl
        def mocha_register_kernels(self, kernels):
            kernels.add("acme.swish", "cuda", lambda backend, call: Functions(captured), priority=1)

    plugin_manager().add_plugin(Rival(), "acme-rival")
    try:
        _, program = trained(HostBackend())
    finally:
        plugin_manager().remove_plugin("acme-rival")
    uses = {use.kernel for use in program.kernels() if use.op == "acme.swish"}
    assert uses == {"Functions" if captured else "Functions (splits the graph)"}


@pytest.fixture
def compiler():
    """NVRTC, if it is there."""
    try:
        nvrtc.version()
    except BackendError as error:
        pytest.skip(f"kernels cannot be compiled: {error}")


@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_nvrtc_compiles_its_sources_and_keeps_the_result(source, dtype, tmp_path, monkeypatch):
    monkeypatch.setenv(nvrtc.VARIABLE, str(tmp_path))
    code = nvrtc.code(source, dtype, 90)
    assert code.startswith(b"\x7fELF")
    (kept,) = tmp_path.iterdir()
    assert kept.name.startswith(f"{source.stem}-{dtype}-sm_90-")
    kept.write_bytes(b"kept")
    assert nvrtc.code(source, dtype, 90) == b"kept"


@pytest.mark.usefixtures("compiler")
def test_a_source_that_is_missing_is_named(tmp_path):
    with pytest.raises(BackendError, match=r"nowhere\.cu' cannot be read.*Reinstall"):
        nvrtc.code(tmp_path / "nowhere.cu", "float32", 90)
