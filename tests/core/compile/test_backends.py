"""Training, prediction and validation in turn give the same on every kind of backend."""

import numpy as np
import pytest
from toys import nets
from toys.backends import BACKENDS, PoisonedBlocked
from toys.deferred import Deferred
from toys.observe import assert_equal, contents, everything, parameters, train
from toys.plain import Plain
from toys.sgd import SGD

import mocha_core as mocha
from mocha_core.errors import DataError
from mocha_core.testing import BackendTests


class TestPlain(BackendTests):
    backend = Plain


class TestBlocked(BackendTests):
    backend = PoisonedBlocked


class TestDeferred(BackendTests):
    backend = Deferred
    xfail = dict.fromkeys(
        ("test_namespace", "test_operands_are_left_alone", "test_random_numbers_are_the_cores_bit_for_bit"),
        "the toy device refuses to compute outside of its programs, so that a Python step in the hot loop is found",
    )

    def arguments(self):
        return super().arguments() | {"uses": ["sum"]}  # one of those that are refused


@pytest.fixture(scope="module", params=["float32", "float64"])
def dtype(request):
    return request.param


@pytest.fixture(scope="module")
def expected(dtype):
    return everything(BACKENDS["plain"](), dtype)


@pytest.mark.parametrize("name", [name for name in BACKENDS if name != "plain"])
def test_every_backend_equals_plain(name, dtype, expected):
    assert_equal(everything(BACKENDS[name](), dtype), expected, dtype)


def test_the_cpu_backend_equals_plain(dtype, expected):
    pytest.importorskip("mocha_cpu", reason="mocha-cpu is not installed")
    assert_equal(everything("cpu", dtype), expected, dtype)


@pytest.mark.parametrize("name", ["plain", "plain, poisoned", "deferred", "deferred, fetching"])
def test_backends_that_run_the_same_kernels_agree_bit_for_bit(name, dtype, expected):
    seen = everything(BACKENDS[name](), dtype)
    for key, array in expected.items():
        assert seen[key].tobytes() == array.tobytes(), key


def test_poison_changes_no_bit(dtype):
    clean, poisoned = (everything(BACKENDS[n](), dtype) for n in ("blocked", "blocked, poisoned"))
    assert all(np.array_equal(clean[key], poisoned[key]) for key in clean)


def test_the_scenario_is_not_trivial(expected):
    """Parameters, states and accuracy move, so that the comparisons above compare something."""
    for key in ("conv1___filter", "tied1___weight", "side___weight", "norm___mean", "norm___variance"):
        assert np.abs(expected[f"2 {key}"] - expected[f"0 {key}"]).max() > 1e-4, key
    assert len({float(expected[f"{turn} validation"]) for turn in range(3)}) == 3
    assert expected["2 batch 7"].shape == (7, 3)


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_fault_stops_every_backend_at_the_same_iteration(name, accumulate):
    """Row 27 has a label out of range: of minibatches of six, the fifth; no update comes after it."""
    images, labels, targets = nets.rows(36)
    labels[27] = 4
    data = nets.MemoryLayer(
        name="data", batch_size=6, arrays=(images, labels, targets), tops=("data", "label", "target")
    )
    layers = [data, *nets.body(statistics=False), *nets.losses()]
    done = 4 // accumulate
    expected = train(BACKENDS["plain"](), layers, max_iter=done, accumulate=accumulate)
    with mocha.System(BACKENDS[name](), dtype="float64", seed=3) as system:
        net = mocha.Net("net", system, layers)
        solver = SGD(parameters(accumulate=accumulate))
        with pytest.raises(DataError, match=r"Layer 'loss' in net 'net': expected labels 0 to 2, received"):
            solver.solve(net)
        assert solver.state.iteration == done
        assert net.feeds["data"].cursor == 24
        assert_equal(contents(net) | {"objective": np.asarray(solver.state.objective)}, expected)
