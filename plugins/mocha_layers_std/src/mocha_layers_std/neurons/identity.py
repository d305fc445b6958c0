"""The neuron `Identity`."""

from __future__ import annotations

from dataclasses import dataclass

from mocha_core.api import Builder, Neuron, Value


@dataclass(frozen=True)
class Identity(Neuron):
    """y = x."""

    def build(self, b: Builder, x: Value) -> Value:
        return x
