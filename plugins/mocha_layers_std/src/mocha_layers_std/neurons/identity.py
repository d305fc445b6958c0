"""The neuron `Identity`."""

from __future__ import annotations

from dataclasses import dataclass

from mocha_core.builder import Builder
from mocha_core.layer import Neuron
from mocha_core.value import Value


@dataclass(frozen=True)
class Identity(Neuron):
    """y = x."""

    def build(self, b: Builder, x: Value) -> Value:
        return x
