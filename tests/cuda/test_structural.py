"""The core's ops: they move, sum and check values."""

from dataclasses import replace

import numpy as np
import pytest
from against_reference import DTYPES, check, forward
from host_backend import HostBackend
from mocha_layers_std.class_labels import Labels

import mocha_core as mocha
from mocha_core import layers
from mocha_core.errors import DataError
from mocha_core.graph.commit import Commit, Copy
from mocha_core.graph.structural import CheckFinite, Fill, Gather, Objective
from mocha_core.testing.inputs import constant


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1, 3, 20])
def test_objective(dtype, n, rng):
    check(Objective(tuple(rng.standard_normal(n))), list(map(np.asarray, rng.standard_normal(n))), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1,), (1001,), (7, 3, 5)], ids=str)
def test_fill(dtype, shape):
    (x,) = forward(Fill(1.5), [np.zeros(shape)], dtype)
    assert (x == 1.5).all()


@pytest.mark.parametrize("status", [None, 0, 5])
def test_commit(status, rng):
    """Values of any dtypes and sizes, bit for bit, or where there is a fault nothing; one launch does it."""
    shapes = {"float32": (), "int64": (3,), "float64": (700, 3), "int32": (5,), "uint64": (257,)}
    bits = {dtype: rng.integers(0, 2**60, (*shape, 8), dtype=np.int64) for dtype, shape in shapes.items()}
    sources = [array.view(dtype)[..., 0].copy() for dtype, array in bits.items()]
    targets = [np.zeros_like(source) for source in sources]
    op = Copy(len(sources)) if status is None else Commit(len(sources))
    given = [] if status is None else [np.asarray(status, np.int32)]
    inputs = [*given, *sources, *targets]
    found = forward(op, inputs, double=range(len(inputs)))
    for array, source in zip(found, sources, strict=True):
        assert array.tobytes() == (np.zeros_like(source) if status else source).tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(9,), (9, 1), (9, 3, 5), (70, 33)], ids=str)
def test_gather(dtype, shape, rng):
    table, rows = rng.standard_normal(shape), rng.integers(0, shape[0], 13)
    check(Gather(), [table, rows], dtype)


@pytest.mark.parametrize("row", [-1, 9, 2**31, 2**40, -(2**62)])
def test_a_row_that_the_table_does_not_have_is_zero(row, rng):
    table = rng.standard_normal((9, 4))
    (found,) = forward(Gather(), [table, np.array([3, row, 8])])
    np.testing.assert_array_equal(found, [table[3], np.zeros(4), table[8]])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bad", [0.5, np.nan, np.inf, -np.inf, 2.0**31, -(2.0**31), 1e30])
@pytest.mark.parametrize("before", [0, 2])
def test_labels(dtype, bad, before):
    good, status = np.array([0.0, 3, -2, 2**24]), np.asarray(before, np.int32)
    labels, after = forward(Labels(4), [good, status], dtype)
    np.testing.assert_array_equal(labels, good)
    assert after == before
    labels, after = forward(Labels(4), [np.array([1, bad]), status], dtype)
    np.testing.assert_array_equal(labels, [1, 0])
    assert after == (before or 4)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("fuse", [True, False])
def test_labels_are_gathered_in_a_forward_pass_alone(dtype, fuse):
    """No program of many iterations takes the gathers along."""
    data, labels = np.eye(5), np.array([3, 0, 4, 1, 2])
    with mocha.System(HostBackend(fuse=fuse), dtype=dtype) as system:
        source = layers.MemoryDataLayer(name="data", batch_size=5, data=constant([data, labels]), tops=["x", "label"])
        loss = layers.MultinomialLogisticLossLayer(name="loss", bottoms=["x", "label"])
        net = mocha.Net("net", system, [source, loss], keep=["label"])
        net.forward()
        np.testing.assert_array_equal(net.blobs["label"].numpy(), labels)
        labels[2] = 5
        net = mocha.Net("net", system, [replace(source, data=constant([data, labels])), loss])
        with pytest.raises(DataError, match="label 5"):
            net.forward()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("n", [1, 3000])
def test_check_finite(dtype, bad, n):
    x = np.ones(n)
    for before in (0, 2):
        status = np.asarray(before, np.int32)
        assert forward(CheckFinite(4), [x, status], dtype) == [before]
        broken = np.append(x[1:], bad)
        assert forward(CheckFinite(4), [broken, status], dtype) == [before or 4]
