import operator

import numpy as np
import pytest
from mocha_layers_std import ElementWise, ElementWiseLayer

from mocha_core.errors import ConfigurationError, ShapeError


@pytest.mark.parametrize(
    ("operation", "function"),
    [
        (ElementWise.Add, operator.add),
        (ElementWise.Subtract, operator.sub),
        (ElementWise.Multiply, operator.mul),
        (ElementWise.Divide, operator.truediv),
    ],
)
def test_operations(tops_of, operation, function):
    random = np.random.default_rng(1)
    a, b = random.normal(size=(3, 2, 4)), random.uniform(0.5, 2, (3, 2, 4))
    layer = ElementWiseLayer(operation=operation, bottoms=["a", "b"], tops=["y"])
    np.testing.assert_array_equal(tops_of({"a": a, "b": b}, layer)["y"], function(a, b))


def test_adds_by_default_and_takes_one_blob_twice(tops_of):
    tops = tops_of({"a": np.array([[1.0, 2.0]])}, ElementWiseLayer(bottoms=["a", "a"], tops=["y"]))
    np.testing.assert_array_equal(tops["y"], [[2, 4]])


def test_shapes_must_be_equal(net_of):
    layer = ElementWiseLayer(name="sum", bottoms=["a", "b"], tops=["y"])
    with pytest.raises(
        ShapeError, match=r"ElementWiseLayer\(sum\).*'a' .*same shape, received float64\[2, 3\] and float64\[2, 1\]"
    ):
        net_of({"a": np.zeros((2, 3)), "b": np.zeros((2, 1))}, layer)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"bottoms": ["a"]}, r"expected 2 bottoms \(left, right\), received \['a'\]"),
        ({"tops": []}, r"expected 1 tops \(result\), received \[\]"),
        ({"operation": "modulo"}, "ElementWise.Multiply, ElementWise.Divide, received 'modulo'"),
    ],
)
def test_bad_fields(fields, message):
    with pytest.raises(ConfigurationError, match=message):
        ElementWiseLayer(**{"bottoms": ["a", "b"], "tops": ["y"]} | fields)
