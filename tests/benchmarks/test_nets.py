"""The benchmarks' nets: what the description says is what Mocha builds. Nothing here is timed."""

from dataclasses import replace

import numpy as np
import pytest
from harness.contestants import plain_numpy, with_mocha
from harness.workloads import NETS, PRESETS, workload


@pytest.mark.parametrize("name", NETS)
def test_mocha_builds_the_described_net(name, system):
    case = workload(f"{name}:train:1")
    net = with_mocha.build(case, system)
    shapes = [(1, *y) for _, y in case.net.shapes()]
    assert [net.plan.blobs[layer.name].shape for layer in case.net.layers] == shapes
    weights = case.net.weights()
    assert set(net.parameters) == set(weights)
    for layer, (w, b) in weights.items():
        found = [parameter.numpy() for parameter in net.parameters[layer].values()]
        assert [array.shape for array in found] == [w.shape, b.shape]
    np.testing.assert_array_equal(found[0], w)


@pytest.mark.parametrize(("name", "gflop"), [("W1", 0.844), ("W2", 6.89), ("W4", 59.2)])
def test_work_of_an_iteration(name, gflop):
    assert workload(name).gflop == pytest.approx(gflop, rel=2e-3)


def test_mocha_trains_as_the_plain_program_does(monkeypatch):
    for module in (with_mocha, plain_numpy):
        monkeypatch.setattr(module, "WEIGHT_DECAY", 5.0)
    case = replace(workload("W1"), batch=4)
    ours = with_mocha.make("cpu", case, 1).check(6)
    plain = plain_numpy.make("", case, 1).check(6)
    np.testing.assert_allclose(ours, plain, rtol=1e-4)
    assert ours[5] != pytest.approx(ours[1], rel=1e-3)


def test_predictions_are_those_of_every_batch_size(system):
    one, many = (with_mocha.make("cpu", workload(f"lenet:predict:{n}"), 1) for n in (1, 7))
    np.testing.assert_allclose(one.check(1), many.check(7)[:10], rtol=1e-4, atol=1e-6)


def test_presets_are_workloads():
    assert [workload(name).name for name in PRESETS] == list(PRESETS)
    with pytest.raises(SystemExit, match=r"No workload 'W9'.*W1"):
        workload("W9")
