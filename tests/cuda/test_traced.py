"""Ops of others run in generated CUDA: here on the host."""

import numpy as np
import pytest
from against_reference import DTYPES, check
from generated_ops import Functions, call_of
from host_backend import HostBackend
from mocha_cuda import nvrtc
from mocha_layers_std.element_wise import Add
from mocha_layers_std.softmax import Softmax as OurSoftmax
from traced_ops import AdamUpdate, Softmax, Swish

from mocha_core.api import Call, chain, forward_step
from mocha_core.compile.selection import Selector
from mocha_core.graph.value import Value
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


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_chain_is_one_kernel(dtype, rng):
    """Also one that gives what is between its steps, and a sum of gradients."""
    a, b, c, d = (Value(name, (7, 90), dtype) for name in "abcd")
    swish, total = Call(Swish(), (a,), (c,)), Call(Add(), (b, c), (d,))
    op = chain([forward_step(swish), forward_step(total)], [c, d])
    kernel = Selector(HostBackend(), registries()).choose(Call(op, op.ins, op.results))
    assert kernel.label == "traced acme.swish + add"
    assert kernel.captured
    arrays = {value: rng.standard_normal(value.shape).astype(dtype) for value in (a, b)}
    between, sums = np.zeros((7, 90), dtype), np.ones((7, 90), dtype)
    kernel.forward([arrays[value] for value in op.ins], [between, sums], [False, True])()
    expected = Swish().forward(np, arrays[a])
    np.testing.assert_allclose(between, expected, 1e-5)
    np.testing.assert_allclose(sums, 1 + arrays[b] + expected, 1e-5, 1e-5)


def test_no_chain_takes_the_place_of_a_kernel():
    a, b, c = (Value(name, (7, 90), "float32") for name in "abc")
    steps = [forward_step(Call(OurSoftmax(), (a,), (b,))), forward_step(Call(Swish(), (b,), (c,)))]
    op = chain(steps, [c])
    assert Selector(HostBackend(), registries()).choose(Call(op, op.ins, op.results), False) is None


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
