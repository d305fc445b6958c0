"""A third party's kernel for another third party's op, on one backend only and in float32 only."""

import numpy as np
import pytest
from acme_swish_cpu.kernel import Swish
from mocha_cpu.backend import CPUBackend

import mocha_core as mocha
from mocha_core import hookimpl, layers
from mocha_core.api import PluginError, plugin_manager


class Derived(CPUBackend):
    name = "derived"


class Rival:
    """Another kernel for the same op, as good as the first."""

    @hookimpl
    def mocha_register_kernels(self, kernels):
        kernels.add("acme.swish", "cpu", lambda backend, call: Swish(call, call.op.beta))


@pytest.fixture
def rival():
    plugin_manager().add_plugin(Rival(), "acme-rival")
    yield
    plugin_manager().remove_plugin("acme-rival")


@pytest.fixture
def server(kernels):
    """The plugin whose kernel serves the swish."""
    swish = layers.SwishLayer(name="swish", bottoms=["x"], tops=["y"])

    def server(backend, **options):
        (plugin,) = {use.plugin for use in kernels(backend, swish, **options) if use.op == "acme.swish"}
        return plugin

    return server


@pytest.mark.parametrize(
    ("backend", "dtype", "plugin"),
    [
        ("cpu", "float32", "acme-swish-cpu"),
        (Derived(), "float32", "acme-swish-cpu"),
        ("cpu", "float64", "reference"),
        (Derived(), "float64", "reference"),
        ("acme", "float32", "reference"),
    ],
)
def test_it_serves_where_it_can(server, backend, dtype, plugin):
    assert server(backend, dtype=dtype) == plugin


def test_two_kernels_are_chosen_between_by_the_user(server, rival):
    with pytest.raises(PluginError, match=r"op 'acme\.swish' on backend 'cpu', from acme-swish-cpu, acme-rival"):
        server("cpu")
    for plugin in ("acme-rival", "acme-swish-cpu"):
        assert server("cpu", prefer={"acme.swish": plugin}) == plugin
    assert server("cpu", dtype="float64") == "acme-rival"
    assert server("acme") == "reference"


def test_all_nets_without_the_op_go_on(rival):
    with mocha.System("cpu") as system:
        data = layers.MemoryDataLayer(name="data", data=[np.ones((4, 3))], batch_size=4, tops=["x"])
        net = mocha.Net("net", system, [data, layers.PowerLayer(name="y", scale=2, bottoms=["x"], tops=["y"])])
        net.forward()
        np.testing.assert_array_equal(net.blobs["y"].numpy(), 2.0)
