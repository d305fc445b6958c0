"""Mocha's own test classes, run on this plugin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from acme_softplus.layer import AcmeSoftplus, AcmeSoftplusLayer
from numpy.typing import NDArray

from mocha_core.testing import LayerTests, OpCase, OpTests, PluginTests
from mocha_core.testing.inputs import distinct

X = distinct((4, 3), low=-3.0, high=3.0)


def softplus(x: NDArray[Any], sharpness: float) -> NDArray[Any]:
    return np.asarray(np.logaddexp(0.0, sharpness * x) / sharpness)


class TestAcmeSoftplusLayer(LayerTests):
    cases = {
        "layer": (AcmeSoftplusLayer(bottoms=["x"], tops=["y"]), [X]),
        "sharp": (AcmeSoftplusLayer(sharpness=5, bottoms=["x"], tops=["y"]), [X]),
    }
    wrong = {
        "flat": (lambda: AcmeSoftplusLayer(sharpness=0, bottoms=["x"], tops=["y"]), [X], "expected sharpness to be"),
        "two bottoms": (AcmeSoftplusLayer(bottoms=["a", "b"], tops=["y"]), [X, X], "'a' float64.*'b' float64"),
    }

    def expected(self, layer: Any, bottoms: Sequence[NDArray[Any]], parameters: Mapping[str, NDArray[Any]]) -> Any:
        return [softplus(bottoms[0], layer.sharpness)]


class TestAcmeSoftplus(OpTests):
    cases = {"op": OpCase(AcmeSoftplus(1.0), [X]), "large": OpCase(AcmeSoftplus(2.0), [1000.0 * X])}

    def expected(self, op: Any, inputs: Sequence[NDArray[Any]]) -> Sequence[Any]:
        return [softplus(inputs[0], op.sharpness)]


class TestPlugin(PluginTests):
    distribution = "acme-softplus"
