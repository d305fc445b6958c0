"""Ops of others run in generated CUDA: here on the host."""

import numpy as np
import pytest
from against_reference import DTYPES, check
from generated_ops import AdamUpdate, Functions, Softmax, Swish, call_of
from host_backend import HostBackend
from mocha_cuda import nvrtc

from mocha_core.compile.selection import Selector
from mocha_core.plugin.manager import registries


@pytest.mark.parametrize("dtype", DTYPES)
def test_elements(dtype, rng):
    check(Swish(), [rng.standard_normal((7, 90))], dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows(dtype, rng):
    check(Softmax(), [rng.standard_normal((2, 3, 300))], dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_functions(dtype, rng):
    check(Functions(), [rng.standard_normal((5, 40)), rng.standard_normal(40)], dtype)


def adam(arrays, status=0, fault=3):
    """What the kernel makes of w, g, mean and square, and the status."""
    op = AdamUpdate(multiplier=2.0, fault=fault)
    kernel = Selector(HostBackend(), registries()).choose(call_of(op, "float64", arrays[0].shape))
    assert kernel.label == "traced acme.adam"
    assert kernel.captured
    operands = [*(a.copy() for a in arrays), np.array(0.01), np.array(3), np.array(status, np.int32)]
    kernel.forward(operands, [operands[i] for i in op.updates], [False] * len(op.updates))()
    return [operands[i] for i in op.updates], op.forward(np, *arrays, *operands[4:6], np.array(status, np.int32))


def test_an_update(rng):
    found, expected = adam(rng.random((4, 3, 300)))
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, 1e-12)


def test_an_update_writes_nothing_after_a_fault(rng):
    arrays = rng.random((4, 3, 300))
    found, _ = adam(arrays, status=7)
    np.testing.assert_array_equal(found[0], arrays[0])
    assert found[-1] == 7


def test_an_update_writes_nothing_that_is_not_finite(rng):
    arrays = rng.random((4, 3, 300))
    arrays[1, 2, 7] = np.nan
    *new, status = adam(arrays)[0]
    assert status == 3
    assert np.isfinite(new).all()


def test_a_source_is_written_where_a_cache_cannot_be(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(nvrtc.VARIABLE, str(tmp_path / "file" / "cache"))
    path = nvrtc.written("// nothing")
    assert path.read_text() == "// nothing"
    assert path == nvrtc.written("// nothing")
