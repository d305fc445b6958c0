"""The neuron `Identity`."""

from __future__ import annotations

from dataclasses import dataclass

from mocha_core.describe.builder import Builder
from mocha_core.describe.layer import Neuron
from mocha_core.graph.value import Value


@dataclass(frozen=True)
class Identity(Neuron):
    """y = x."""

    def build(self, b: Builder, x: Value) -> Value:
        return x
