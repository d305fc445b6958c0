"""A third party's whole backend: the five required things, and everything else inherited."""

import numpy as np
import pytest
from acme_backend.backend import AcmeBackend
from lenet import lenet, train
from mocha_cpu.backend import CPUBackend

import mocha_core as mocha
from mocha_core import backends, layers
from mocha_core.api import Backend
from mocha_core.testing import BackendTests, assert_close


class TestAcme(BackendTests):
    backend = "acme"


def test_it_has_the_five_required_things_and_nothing_else(lines_of_code):
    own = {name for name in vars(AcmeBackend) if not name.startswith("_")}
    assert own == {"name", "xp", "empty", "to_numpy", "copy_from_numpy"}
    assert AcmeBackend.__bases__ == (Backend,)
    assert not issubclass(AcmeBackend, CPUBackend)
    assert 5 < lines_of_code("acme-backend", "backend") < 60


def test_it_can_be_chosen_by_name_and_is_not_the_default():
    assert backends.acme is AcmeBackend
    with mocha.System("acme") as system, mocha.System() as default:
        assert isinstance(system.backend, AcmeBackend)
        assert isinstance(default.backend, CPUBackend)
        array = system.backend.empty((2, 3), "float32")
        assert not isinstance(array, np.ndarray), "its arrays are not NumPy's"


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-4), ("float64", 1e-9)])
def test_lenet_trains_as_on_cpu(digits, dtype, tolerance):
    def run(backend):
        with mocha.System(backend, dtype=dtype, seed=1) as system:
            net = lenet(system, digits, batch_size=16)
            return train(net, 8)

    (objectives, parameters), (expected, expected_parameters) = run("acme"), run("cpu")
    assert_close("objectives", objectives[1:], expected[1:], tolerance)
    if dtype == "float64":  # in float32, rounding decides here and there which pixel is the maximum
        for key, array in expected_parameters.items():
            assert_close(key, parameters[key], array, tolerance)


def test_lenet_learns_on_it_with_a_layer_that_does_not_know_it(digits):
    swish = layers.SwishLayer(name="swish", bottoms=["ip2"], tops=["swish"])
    with mocha.System("acme", seed=1) as system:
        net = lenet(system, digits, batch_size=16, before_loss=[swish])
        objectives, _ = train(net, 60)
    assert objectives[-10:].mean() < 0.7 * objectives[1:11].mean()
