"""LeNet and the CIFAR-10 net on images: mocha-cpu's objectives, and the same bytes for any number of threads."""

import os
from functools import cache

import numpy as np
import pytest
from mocha_native.backend import NativeBackend
from real_nets import NETS, trained

from mocha_core.testing.tolerances import assert_close

LONG = os.environ.get("MOCHA_SOAK") == "1"
#: More than the lanes of any instruction set, and not a multiple of them.
BATCH = 20


@cache
def on_cpu(name, batch, iterations):
    return trained("cpu", name, batch, iterations)


def assert_agree(found, expected):
    """Objectives; and roughly, as roundings decide which of two like elements is the maximum, what was learned."""
    np.testing.assert_allclose(found[0][:20], expected[0][:20], rtol=1e-4)
    for parameter, value in expected[1].items():
        assert_close(parameter, found[1][parameter], value, 0.15)


@pytest.mark.parametrize("name", NETS)
def test_objectives_of_the_first_iterations(isa, name):
    found = trained(NativeBackend(threads=2), name, BATCH, 20)
    assert len(found[0]) == 20
    assert_agree(found, on_cpu(name, BATCH, 20))


@pytest.mark.parametrize("switches", [{"fuse": False}, {"winograd": False}], ids=lambda switches: next(iter(switches)))
@pytest.mark.parametrize("name", NETS)
def test_switches_change_results_in_rounding_only(name, switches):
    assert_agree(trained(NativeBackend(threads=1, **switches), name, BATCH, 20), on_cpu(name, BATCH, 20))


@pytest.mark.skipif(not LONG, reason="takes a minute: MOCHA_SOAK=1")
@pytest.mark.parametrize("name", NETS)
def test_objectives_stay_close(isa, name):
    found, _ = trained(NativeBackend(), name, 64, 200)
    expected, _ = on_cpu(name, 64, 200)
    np.testing.assert_allclose(found[:20], expected[:20], rtol=1e-4)
    assert found[150:].mean() == pytest.approx(expected[150:].mean(), rel=0.02)


@pytest.mark.parametrize("name", NETS)
def test_same_bytes_twice_and_for_any_number_of_threads(isa, name):
    objectives, parameters = trained(NativeBackend(threads=1), name, BATCH, 3)
    for threads in (1, 2, 3):
        again, same = trained(NativeBackend(threads=threads), name, BATCH, 3)
        assert again.tobytes() == objectives.tobytes()
        assert {n: p.tobytes() for n, p in same.items()} == {n: p.tobytes() for n, p in parameters.items()}
