"""Labels of any numeric dtype become class indices, once for all layers that read them."""

import numpy as np
import pytest
from mocha_layers_std.class_labels import Labels

import mocha_core as mocha
from mocha_core import layers
from mocha_core.testing import OpCase, OpTests
from mocha_core.testing.backends import installed, open_any
from mocha_core.testing.inputs import distinct


def case(labels, status=0):
    return OpCase(Labels(4), [np.asarray(labels, float), np.asarray(status, np.int32)])


class TestLabels(OpTests):
    cases = {
        "whole": case([0, 3, -2, 2**20]),
        "of positions": case([[0, 1], [2, 3]]),
        "a fraction": case([1, 0.5]),
        "a fraction after another fault": case([1, 0.5], status=2),
        "too large": case([1, 2.0**31]),
    }

    def expected(self, op, inputs):
        labels, status = inputs
        whole = (labels == np.round(labels)) & (np.abs(labels) < 2**31)
        return [np.where(whole, labels, 0).astype(np.int32), status if status or whole.all() else op.fault]


@pytest.mark.parametrize("backend", installed())
def test_layers_that_read_the_same_labels_share_their_class_indices(backend):
    data = layers.MemoryDataLayer(
        name="data", data=[distinct((4, 3)), np.arange(4) % 3, np.zeros(4)], batch_size=4, tops=["y", "label", "other"]
    )
    readers = [
        layers.SoftmaxLossLayer(name="loss", bottoms=["y", "label"]),
        layers.SoftmaxLossLayer(name="second", bottoms=["y", "label"]),
        layers.AccuracyLayer(name="accuracy", bottoms=["y", "other"]),
    ]
    with mocha.System(open_any(backend), seed=3) as system:
        net = mocha.Net("net", system, [data, *readers])
        made = [step.call.layer for step in net.plan.steps if step.call.op.name == "labels"]
        assert made == ["loss", "accuracy"]
