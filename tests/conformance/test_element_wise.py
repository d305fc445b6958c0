import operator

import numpy as np
import pytest
from mocha_layers_std.element_wise import Add, Divide, Multiply, Subtract

from mocha_core import layers, neurons
from mocha_core.testing import LayerTests, OpCase, OpTests
from mocha_core.testing.inputs import away_from, distinct

FUNCTIONS = {"add": operator.add, "subtract": operator.sub, "multiply": operator.mul, "divide": operator.truediv}


class TestElementWise(OpTests):
    cases = {
        f"{op.name} {axes}": OpCase(op, [distinct(shape), away_from(distinct(shape, 1), 0.0, 0.3)])
        for op in (Add(), Subtract(), Multiply(), Divide())
        for axes, shape in {"matrices": (3, 4), "images": (2, 2, 3, 2), "rows": (5,)}.items()
    }

    def expected(self, op, inputs):
        return [FUNCTIONS[op.name](*inputs)]


class TestElementWiseLayer(LayerTests):
    cases = {
        operation.value: (
            layers.ElementWiseLayer(operation=operation, bottoms=["a", "b"], tops=["y"]),
            [(3, 2, 2), away_from(distinct((3, 2, 2), 1), 0.0, 0.3)],
        )
        for operation in layers.ElementWise
    } | {
        "neuron": (
            layers.ElementWiseLayer(bottoms=["a", "b"], tops=["y"], neuron=neurons.Exponential()),
            [(3, 2), (3, 2)],
        )
    }

    wrong = {
        "other shapes": (layers.ElementWiseLayer(bottoms=["a", "b"], tops=["y"]), [(3, 2), (3, 4)], "same shape"),
        "one bottom": (lambda: layers.ElementWiseLayer(bottoms=["a"], tops=["y"]), [], "2 bottoms"),
        "operation": (lambda: layers.ElementWiseLayer(operation="mod", bottoms=["a", "b"], tops=["y"]), [], "'mod'"),
    }

    def expected(self, layer, bottoms, parameters):
        y = FUNCTIONS[layer.operation.value](*bottoms)
        return [np.exp(y) if layer.neuron else y]


class TestElementWiseLayerOfOneBlob(LayerTests):
    """Both gradients go to one blob and add up."""

    cases = {
        operation.value: (
            layers.ElementWiseLayer(operation=operation, bottoms=["a", "a"], tops=["y"]),
            [away_from(distinct((3, 2)), 0.0, 0.3)],
        )
        for operation in layers.ElementWise
    }

    def expected(self, layer, bottoms, parameters):
        return [FUNCTIONS[layer.operation.value](bottoms[0], bottoms[0])]


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_the_gradient_of_a_square(backend):
    from mocha_core.testing import LayerCase

    layer = layers.ElementWiseLayer(operation="multiply", bottoms=["a", "a"], tops=["y"])
    with LayerCase(layer, [distinct((3, 2))], backend).trial() as trial:
        np.testing.assert_allclose(trial.run()["d a"], 2 * distinct((3, 2)) * trial.weights("y"))
