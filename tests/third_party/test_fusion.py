"""A third party's fusion of two standard ops, with a fused op of its own and the kernel that computes it."""

import numpy as np
import pytest
from lenet import lenet, train

import mocha_core as mocha
from mocha_core import layers, neurons
from mocha_core.api import plugin_manager
from mocha_core.testing import assert_close
from mocha_core.testing.inputs import distinct


@pytest.fixture
def unfused():
    """Call it: from then on the fusion is not there."""
    manager = plugin_manager()
    plugin = manager.get_plugin("acme-fusion")
    yield lambda: manager.remove_plugin("acme-fusion")
    manager.add_plugin(plugin, "acme-fusion")


def ops(net):
    return [(use.layer, use.op, use.half, use.plugin) for use in net.program().kernels()]


FUSED = ("ip1", "acme.inner_product_relu", "forward", "acme-fusion")
#: Their gradients are computed as before.
BACKWARD = [("ip1", "relu", "backward", "mocha-cpu"), ("ip1", "inner_product", "backward", "mocha-cpu")]


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float64", 1e-12)])
def test_lenet_is_the_same_but_for_rounding(digits, unfused, dtype, tolerance):
    def run():
        with mocha.System("cpu", dtype=dtype, seed=1) as system:
            net = lenet(system, digits)
            objectives, parameters = train(net, 8)
            return ops(net), objectives, parameters

    fused_ops, objectives, parameters = run()
    unfused()
    plain_ops, expected, expected_parameters = run()
    assert FUSED in fused_ops
    assert set(BACKWARD) <= set(fused_ops) & set(plain_ops)
    assert not {("ip1", "relu", "forward", "mocha-cpu"), ("ip1", "inner_product", "forward", "mocha-cpu")} & set(
        fused_ops
    )
    assert FUSED not in plain_ops
    assert len(plain_ops) == len(fused_ops) + 1
    assert np.isfinite(expected[1:]).all()
    assert_close("objectives", objectives[1:], expected[1:], tolerance)
    for key, array in expected_parameters.items():
        assert_close(key, parameters[key], array, 10 * tolerance)


def small_net(system, *between, keep=()):
    x, t = distinct((6, 4)), distinct((6, 2), 1)
    data = layers.MemoryDataLayer(name="data", data=[x, t], batch_size=6, tops=["x", "t"])
    loss = layers.SquareLossLayer(name="loss", bottoms=["y", "t"])
    net = mocha.Net("net", system, [data, *between, loss], keep=keep)
    net.forward()
    return net


def test_epsilon_goes_along():
    """The attributes of the ops that it replaces count."""
    layer = layers.InnerProductLayer(
        name="ip1", output_dim=2, neuron=neurons.ReLU(epsilon=0.25), bottoms=["x"], tops=["y"]
    )
    with mocha.System("cpu", seed=2) as system:
        net = small_net(system, layer, keep=["y"])
        assert FUSED in ops(net)
        assert net.blobs["y"].numpy().min() == np.float32(0.25)


def test_it_leaves_alone_what_somebody_looks_at():
    product = layers.InnerProductLayer(name="ip1", output_dim=2, bottoms=["x"], tops=["z"])
    rectified = layers.InnerProductLayer(name="ip2", output_dim=2, neuron=neurons.ReLU(), bottoms=["z"], tops=["y"])
    with mocha.System("cpu", seed=2) as system:
        net = small_net(system, product, rectified, keep=["z"])
        assert [use.op for use in net.program().kernels() if use.half == "forward"][1:3] == [
            "inner_product", "acme.inner_product_relu",
        ]  # fmt: skip


def test_other_backends_have_no_such_fusion():
    layer = layers.InnerProductLayer(name="ip1", output_dim=2, neuron=neurons.ReLU(), bottoms=["x"], tops=["y"])
    with mocha.System("acme") as system:
        assert not [line for line in ops(small_net(system, layer)) if "acme.inner" in line[1]]
