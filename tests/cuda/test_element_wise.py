"""Arithmetic on two blobs, and powers."""

import numpy as np
import pytest
from against_reference import DTYPES, check, forward
from host_backend import HostBackend
from mocha_layers_std.element_wise import OPS
from mocha_layers_std.power import Power

from mocha_core.compile.selection import Selector
from mocha_core.plugin.manager import registries
from mocha_core.testing import OpCase


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", OPS.values(), ids=lambda kind: kind.name)
@pytest.mark.parametrize("trial", range(3))
def test_element_wise(dtype, kind, trial, rng):
    shape = tuple(map(int, rng.integers(1, 12, int(rng.integers(1, 5)))))
    check(kind(), [rng.standard_normal(shape), rng.uniform(1, 2, shape)], dtype)


def test_more_elements_than_threads(rng):
    shape = (40, 500)
    check(OPS["divide"](), [rng.standard_normal(shape), rng.uniform(1, 2, shape)], "float32")


def test_a_blob_as_both_operands():
    x = np.arange(1.0, 6.0)
    kernel = Selector(HostBackend(), registries()).choose(OpCase(OPS["multiply"](), [x, x]).call("float64"))
    gradient, dy = np.zeros(5), np.ones(5)
    kernel.backward([dy, x, x, None], [gradient, gradient], [False, True])()
    np.testing.assert_array_equal(gradient, 2 * x)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("power", [1.0, 2.0, -1.0, 0.5, 3.0])
def test_power(dtype, power, rng):
    check(Power(power, 0.5, 1.0), [rng.uniform(0.5, 2, (67, 3))], dtype)


@pytest.mark.parametrize("op", [Power(0.0, 0.5, 1.0), Power(-1.0, 0.0, 2.0)], ids=str)
def test_a_constant_has_no_gradient(op):
    x = np.array([0.5, -2.0, -1.0])
    np.testing.assert_array_equal(forward(op, [x])[0], op.forward(np, x))
    check(op, [x], "float64")
