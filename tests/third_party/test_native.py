"""A third party's C kernels: built by its own setuptools and cffi, steps of the one call into C."""

import ctypes

import acme_swish.swish
import numpy as np
import pytest
from acme_solver.nesterov import AcmeNesterov, AcmeNesterovUpdate
from acme_swish_native._kernels import lib
from acme_swish_native.library import LIBRARY
from mocha_native import get_include
from mocha_native.api import Compiled, Library, NativeBackend

import mocha_core as mocha
from mocha_core import layers
from mocha_core.api import NonFiniteError, PluginError
from mocha_core.testing import OpTests, assert_close
from mocha_core.testing.inputs import constant, distinct


@pytest.fixture(params=["baseline", "avx2", "avx512"])
def isa(request, monkeypatch):
    """The name of an instruction set, which backends made in the test use."""
    from mocha_native.isa import unavailable

    monkeypatch.setenv("MOCHA_NATIVE_ISA", request.param)
    if reason := unavailable():
        pytest.skip(reason)
    return request.param


class TestSwish(OpTests):
    """The kit: the reference and all kernels, that of this backend among them."""

    op = acme_swish.swish.Swish(beta=2.0)
    inputs = [distinct((4, 3), low=-3, high=3)]

    def expected(self, op, inputs):
        (x,) = inputs
        return [x / (1 + np.exp(-op.beta * x))]


class TestNesterov(OpTests):
    op = AcmeNesterovUpdate(multiplier=2.0, fault=3)
    inputs = [
        *(distinct((40, 7), seed) for seed in range(3)),
        np.asarray(0.05),
        np.asarray(0.9),
        np.asarray(0, "int32"),
    ]

    def expected(self, op, inputs):
        w, g, velocity, rate, m, status = inputs
        new = m * velocity + op.multiplier * rate * g
        return [w - ((1 + m) * new - m * velocity), new, status]


def net(system, **more):
    # Arrays that are never written to are copied to the backend once, and no step in Python fetches minibatches.
    data = constant([np.random.default_rng(3).normal(size=(64, 3, 9, 7)), np.arange(64) % 10])
    return mocha.Net("net", system, [
        layers.MemoryDataLayer(name="data", data=data, batch_size=32, tops=["x", "label"]),
        layers.ConvolutionLayer(name="conv", n_filter=5, kernel=(3, 3), bottoms=["x"], tops=["conv"]),
        layers.SwishLayer(name="swish", beta=1.5, bottoms=["conv"], tops=["swish"]),
        layers.InnerProductLayer(name="ip", output_dim=10, bottoms=["swish"], tops=["ip"], **more),
        layers.SoftmaxLossLayer(name="loss", bottoms=["ip", "label"]),
    ])  # fmt: skip


def trained(solver=mocha.solvers.SGD, dtype="float32", **options):
    """The parameters after some iterations, and what serves the steps."""
    with mocha.System(NativeBackend(**options), seed=5, dtype=dtype) as system:
        made = net(system)
        solver = solver(mocha.SolverParameters(max_iter=5, lr_policy=0.05, momentum=0.9))
        solver.solve(made)
        uses = made.runs.training_program(solver).kernels()
        return {f"{a}.{b}": p.numpy() for a, group in made.parameters.items() for b, p in group.items()}, uses


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_it_serves_both_halves_and_python_runs_no_step(isa, dtype):
    with mocha.System("native", dtype=dtype) as system:
        made = net(system)
        solver = mocha.solvers.SGD(mocha.SolverParameters(max_iter=1))
        program = made.runs.training_program(solver)
        uses = {(use.half, use.kernel, use.plugin) for use in program.kernels() if use.op == "acme.swish"}
        assert uses == {(half, "CompiledSwish", "acme-swish-native") for half in ("forward", "backward")}
        solver.solve(made)
        assert not [b.kernel.label for b in program.bound if not isinstance(b.run, Compiled)]
        assert "CompiledSwish" in str(program)


def test_its_kernel_runs_the_sum_behind_it_as_an_epilogue(isa):
    """And no chain takes the place of a kernel that does not say that one may."""
    x = np.random.default_rng(3).normal(size=(32, 3, 9, 7)).astype("float32")
    found = {}
    for fuse in (True, False):
        with mocha.System(NativeBackend(threads=2, fuse=fuse), seed=5) as system:
            made = mocha.Net("net", system, [
                layers.MemoryDataLayer(name="data", data=constant([x]), batch_size=32, tops=["x"]),
                layers.ConvolutionLayer(name="conv", n_filter=3, kernel=(1, 1), bottoms=["x"], tops=["conv"]),
                layers.SwishLayer(name="swish", beta=1.5, bottoms=["conv"], tops=["swish"]),
                layers.ElementWiseLayer(name="sum", bottoms=["swish", "x"], tops=["y"]),
            ])  # fmt: skip
            found[fuse] = made.predict(x, "y")
            kernels = [use.kernel for use in made.program().kernels()]
            assert ("CompiledSwish + add" in kernels) == fuse
            assert {"Convolution", "SmallConvolution", "Pointwise"} & {*kernels}
    np.testing.assert_array_equal(found[True], found[False])


def test_no_chain_takes_in_its_kernel():
    """The step before it is traced, the kernel itself is not: they stay two steps, forward and backward."""
    with mocha.System("native", dtype="float64", seed=5) as system:
        x = np.random.default_rng(3).normal(size=(8, 6))
        made = mocha.Net("net", system, [
            layers.MemoryDataLayer(name="data", data=constant([x, x[:, :2]]), batch_size=8, tops=["x", "t"]),
            layers.InnerProductLayer(name="ip", output_dim=2, bottoms=["x"], tops=["ip"]),
            layers.PowerLayer(name="power", scale=0.5, power=2.0, shift=0.25, bottoms=["ip"], tops=["power"]),
            layers.SwishLayer(name="swish", beta=1.5, bottoms=["power"], tops=["y"]),
            layers.SquareLossLayer(name="loss", bottoms=["y", "t"]),
        ])  # fmt: skip
        made.forward()
        made.backward()
        by_half = {(use.layer, use.half): use.kernel for use in made.program().kernels()}
        assert by_half["swish", "forward"] == by_half["swish", "backward"] == "CompiledSwish"
        w, b = made.parameters["ip"]["weight"].numpy(), made.parameters["ip"]["bias"].numpy()
        inner = x @ w.T + b.ravel()
        powers = (0.25 + 0.5 * inner) ** 2
        sigmoid = 1 / (1 + np.exp(-1.5 * powers))
        assert_close("y", made.blobs["y"].numpy(), powers * sigmoid, 1e-12)
        dy = (powers * sigmoid - x[:, :2]) / 8
        d_inner = dy * sigmoid * (1 + 1.5 * powers * (1 - sigmoid)) * (0.25 + 0.5 * inner)
        assert_close("gradient", made.gradient("ip", "weight"), d_inner.T @ x, 1e-12)


def test_the_same_bytes_for_any_number_of_threads(isa):
    expected, _ = trained(threads=1)
    for threads in (2, 3):
        found, _ = trained(threads=threads)
        for name, array in expected.items():
            np.testing.assert_array_equal(found[name], array, name)


def test_the_kernels_for_the_instruction_set_of_the_backend(isa):
    kernels = {name: LIBRARY.kernel(type("ISA", (), {"name": name}), "swish_forward_float32") for name in
               ("baseline", "avx2", "avx512")}  # fmt: skip
    assert len(set(kernels.values())) == 3
    with mocha.System("native") as system:
        run = Compiled(system.backend, "swish_forward_float32", [], library=LIBRARY)
    assert run.kernel == kernels[isa]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_its_update_is_folded_into_the_gradient_of_our_inner_product(isa, dtype):
    apart, _ = trained(AcmeNesterov, dtype, threads=1, fuse=False)
    expected, uses = trained(AcmeNesterov, dtype, threads=1)
    assert "InnerProduct + CompiledNesterov of parameters" in {use.kernel for use in uses if use.layer == "ip"}
    assert [use.kernel for use in uses if use.op == "acme.nesterov"] == ["CompiledNesterov"] * 2  # of the convolution
    for name, array in apart.items():
        assert_close(name, expected[name], array, 1e-12 if dtype == "float64" else 2e-5)
    for threads in (2, 3):
        found, _ = trained(AcmeNesterov, dtype, threads=threads)
        for name, array in expected.items():
            np.testing.assert_array_equal(found[name], array, name)


def test_a_folded_update_that_overflows_is_refused():
    with mocha.System("native", seed=5) as system:
        made = net(system, weight_lr=1e38)
        solver = AcmeNesterov(mocha.SolverParameters(max_iter=5, lr_policy=100.0, momentum=0.9))
        with pytest.raises(NonFiniteError, match=r"the update of parameter 'ip\.weight' is not finite"):
            solver.solve(made)
        assert all(np.isfinite(state.numpy()).all() for state in made.states.values())


class Table(ctypes.Structure):
    """`mocha_table`."""

    _fields_ = [("isa", ctypes.c_char_p), ("entries", ctypes.c_void_p)]


class Layout(ctypes.Structure):
    """`mocha_library`, made by no compiler: an address is enough."""

    _fields_ = [("abi", ctypes.c_int32), ("tables", ctypes.POINTER(Table)), ("meet", ctypes.POINTER(ctypes.c_void_p))]


def library(abi, *isas):
    from acme_swish_native._kernels import ffi

    real = Layout.from_address(int(ffi.cast("intptr_t", lib.acme_swish())))
    named = {real.tables[i].isa: real.tables[i].entries for i in range(3)}
    tables = (Table * (len(isas) + 1))(*(Table(isa, named[b"baseline"]) for isa in isas))
    made = Layout(real.abi + abi, tables, real.meet)
    made.kept = Library("acme-other", ctypes.addressof(made))
    return made.kept, made


def test_a_library_with_fewer_instruction_sets_serves_with_the_best_it_has(isa):
    found, _alive = library(0, b"baseline")
    with mocha.System("native") as system:
        assert found.kernel(system.backend.isa, "swish_forward_float64")


def test_another_version_of_the_interface_is_refused():
    message = (
        r"acme-other were compiled for version 9 of the interface.*mocha-native 0\.1\.0 has version 2\. "
        r"Build them again.*pip install --force-reinstall .* acme-other"
    )
    with pytest.raises(PluginError, match=message):
        library(7, b"baseline")


def test_a_library_needs_kernels_for_every_processor():
    with pytest.raises(PluginError, match=r"acme-other are for avx2: expected them also for 'baseline'"):
        library(0, b"avx2")


def test_a_kernel_that_is_not_there_is_named():
    with mocha.System("native") as system, pytest.raises(PluginError, match=r"'swish_float16'.*swish_backward_float32"):
        Compiled(system.backend, "swish_float16", [], library=LIBRARY)


def test_the_headers_are_where_the_include_path_says():
    from pathlib import Path

    assert {"abi.h", "kernel.h", "library.h", "variant.h"} == {p.name for p in Path(get_include(), "mocha").iterdir()}
