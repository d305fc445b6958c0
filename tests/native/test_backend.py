"""The kit's tests of backends in every instruction set, on different numbers of threads."""

import os
import subprocess
import sys
from functools import partial
from unittest import mock

import numpy as np
import pytest
from instruction_sets import HERE
from kernel_use import KernelUse
from mocha_layers_std.element_wise import Add, Divide, Multiply, Subtract
from mocha_layers_std.neurons.exponential import ExponentialOp
from mocha_layers_std.neurons.lrelu import LReLUOp
from mocha_layers_std.neurons.relu import ReLUOp
from mocha_layers_std.neurons.sigmoid import SigmoidOp
from mocha_layers_std.neurons.tanh import TanhOp
from mocha_layers_std.power import Power
from mocha_native import isa
from mocha_native.backend import NativeBackend
from mocha_native.isa import VARIABLE

from mocha_core.errors import BackendError, ConfigurationError
from mocha_core.host import cpus as host_cpus
from mocha_core.net.system import System
from mocha_core.plugin.manager import registries
from mocha_core.testing import BackendTests


def make(name, threads):
    with mock.patch.dict(os.environ, {VARIABLE: name}):
        return NativeBackend(threads=threads)


class TestBaseline(BackendTests):
    backend = partial(make, "baseline", 2)


if "avx2" in HERE:

    class TestAVX2(BackendTests):
        backend = partial(make, "avx2", 3)


if "avx512" in HERE:

    class TestAVX512(BackendTests):
        backend = partial(make, "avx512", 1)


def test_an_instruction_set_that_is_not_there(monkeypatch):
    monkeypatch.setenv(VARIABLE, "mmx")
    with pytest.raises(BackendError, match=r"_ISA=mmx: this build does not know it\. Choose one of .*baseline"):
        System("native")
    assert "mmx" in isa.unavailable()


def test_the_best_instruction_set_is_chosen(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    assert NativeBackend(threads=1).isa.name == HERE[0]


def test_without_the_extension_the_best_backend_is_another_one_and_native_says_how_to_build_it():
    program = """
import sys
sys.modules["mocha_native._native"] = None
import mocha_core as mocha
print(mocha.System().backend.name)
mocha.System("native")
"""
    environment = {k: v for k, v in os.environ.items() if k != "MOCHA_BACKEND"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=60)
    assert done.stdout == "cpu\n"
    assert "BackendError: Backend 'native' is not available: its compiled extension cannot be loaded" in done.stderr
    assert "pip install" in done.stderr


@pytest.mark.parametrize(("given", "expected"), [("3", 3), ("2,1", 2), ("", 4)])
def test_default_threads(monkeypatch, given, expected):
    monkeypatch.setattr(host_cpus, "processors", lambda root=None: 8)
    monkeypatch.setattr(host_cpus, "cores", lambda root=None: 4)
    monkeypatch.setenv("OMP_NUM_THREADS", given)
    assert NativeBackend().threads == expected


def test_more_threads_than_the_machine_has(monkeypatch):
    monkeypatch.setattr(host_cpus, "processors", lambda root=None: 2)
    monkeypatch.setenv("OMP_NUM_THREADS", "1000")
    with pytest.warns(RuntimeWarning, match="OMP_NUM_THREADS='1000' is more than the 2 processors"):
        assert NativeBackend().threads == 2
    for name in ("native", "cpu"):
        with pytest.raises(ConfigurationError, match=r"at most 16 threads, received 1000\. .*use threads=2"):
            System(name, threads=1000)


#: Standard ops whose references are traced.
TRACED = {
    op.name: op
    for op in (
        *(Add(), Subtract(), Multiply(), Divide(), Power(2.0, 0.5, 1.0)),
        *(ReLUOp(0.0), LReLUOp(), SigmoidOp(), TanhOp(), ExponentialOp()),
    )
}


def test_every_standard_op_runs_in_c():
    served = {entry.name.removesuffix("/native") for entry in registries().kernels if entry.name.endswith("/native")}
    assert {entry.name for entry in registries().ops if entry.plugin == "mocha-layers-std"} - served == set(TRACED)
    for name, op in TRACED.items():
        operands = [np.ones(3, np.float32)] * (2 if name in ("add", "subtract", "multiply", "divide") else 1)
        assert KernelUse(NativeBackend(threads=1), op, *operands).kernel.label == f"traced {name}"


@pytest.mark.parametrize("value", [None, 0, "no"])
@pytest.mark.parametrize("name", ["winograd", "fuse"])
def test_an_option_that_is_neither_true_nor_false(name, value):
    with pytest.raises(ConfigurationError, match=f"System: expected {name} to be a bool such as False, received"):
        NativeBackend(**{name: value})
