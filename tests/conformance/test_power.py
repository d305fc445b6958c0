import numpy as np
from mocha_layers_std.power import Power

from mocha_core import layers
from mocha_core.testing import LayerTests, OpCase, OpTests
from mocha_core.testing.inputs import distinct

#: power, scale, shift, lowest and highest input: fractional powers are of positive numbers only.
ATTRIBUTES = {
    "identity": (1.0, 1.0, 0.0, -1, 1),
    "linear": (1.0, -2.5, 0.75, -1, 1),
    "constant": (0.0, 2.0, 1.0, -1, 1),
    "constant without scale": (2.0, 0.0, 3.0, -1, 1),
    "square": (2.0, 1.0, 0.0, -1, 1),
    "square of scaled and shifted": (2.0, -1.5, 0.25, -1, 1),
    "cube": (3.0, 2.0, -0.5, -1, 1),
    "inverse": (-1.0, 1.0, 0.0, 0.5, 2),
    "inverse of negative numbers": (-1.0, -2.0, -1.0, 0.5, 2),
    "inverse square": (-2.0, 1.0, 1.0, 0.5, 2),
    "square root": (0.5, 2.0, 1.0, 0.5, 2),
    "fraction": (1.7, 0.8, 0.4, 0.5, 2),
    "negative fraction": (-0.75, 1.0, 1.0, 0.5, 2),
    "shift only": (1.0, 1.0, 3.0, -1, 1),
}


class TestPower(OpTests):
    cases = {
        name: OpCase(Power(*attributes), [distinct((3, 2, 2), low=low, high=high)])
        for name, (*attributes, low, high) in ATTRIBUTES.items()
    }

    def expected(self, op, inputs):
        return [(op.scale * inputs[0] + op.shift) ** op.power]


class TestPowerAtZero(OpTests):
    """The gradient is finite there, and no warning is given."""

    cases = {
        f"power {power}": OpCase(Power(power, 1.0, 0.0), [np.array([[0.0, 1.0], [-1.0, 0.0]])])
        for power in (0.0, 1.0, 2.0, 3.0)
    }

    def expected(self, op, inputs):
        return [inputs[0] ** op.power]


class TestPowerLayer(LayerTests):
    cases = {
        name: (
            layers.PowerLayer(power=power, scale=scale, shift=shift, bottoms=["x"], tops=["y"]),
            [distinct((3, 2, 2), low=low, high=high)],
        )
        for name, (power, scale, shift, low, high) in ATTRIBUTES.items()
    } | {
        "two bottoms": (
            layers.PowerLayer(power=2, scale=3, shift=1, bottoms=["a", "b"], tops=["u", "v"]),
            [(3, 2), (3, 1, 4)],
        )
    }

    wrong = {"power": (lambda: layers.PowerLayer(power="two", bottoms=["x"], tops=["y"]), [], "power")}

    def expected(self, layer, bottoms, parameters):
        return [(layer.scale * x + layer.shift) ** layer.power for x in bottoms]
