"""Checks of fields: what passes, what does not, and that the message has both sides."""

import numpy as np
import pytest
from toys.memory import MemoryLayer
from toys.pooling import PoolingLayer
from toys.relu import ReluLayer

import mocha_core as mocha
from mocha_core import checks
from mocha_core.describe.layer import Neuron
from mocha_core.errors import ConfigurationError


def failing(check, message):
    with pytest.raises(ConfigurationError) as caught:
        check()
    assert str(caught.value) == message
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("value", [1, 5, np.int64(3), np.uint8(1)])
def test_integers_pass(value):
    result = checks.integer("L", "n", value)
    assert result == value
    assert type(result) is int


@pytest.mark.parametrize("value", [0, -1, 1.0, "1", None, True, [1]])
def test_other_integers_fail(value):
    failing(
        lambda: checks.integer("L 'x'", "n", value), f"L 'x': expected n to be an integer >= 1, received {value!r}."
    )


def test_pairs():
    assert checks.pair("L", "kernel", [3, np.int32(4)]) == (3, 4)
    assert checks.pair("L", "pad", (0, 0), at_least=0) == (0, 0)
    for value in (3, "33", (1, 2, 3), (1,), None):
        message = f"L: expected kernel to be two integers (width, height), received {value!r}."
        failing(lambda value=value: checks.pair("L", "kernel", value), message)
    failing(lambda: checks.pair("L", "kernel", (1, 0)), "L: expected kernel to be an integer >= 1, received 0.")


def test_numbers():
    assert checks.number("L", "x", np.float32(0.5), 0, 1) == 0.5
    for value in (float("nan"), float("inf"), "a", None, [1.0]):
        message = f"L: expected x to be a finite number, received {value!r}."
        failing(lambda value=value: checks.number("L", "x", value), message)
    failing(lambda: checks.number("L", "x", 2, 0, 1), "L: expected x to be a finite number in [0, 1], received 2.")
    failing(lambda: checks.number("L", "x", -1, 0), "L: expected x to be a finite number in [0, inf], received -1.")


def test_instances_and_names():
    neuron = mocha.Phase.TRAIN
    message = "L: expected neuron to be a Neuron such as neurons.ReLU(), received <Phase.TRAIN: 'train'>."
    failing(lambda: checks.instance("L", "neuron", neuron, Neuron, "neurons.ReLU()"), message)
    assert checks.names("L", "tops", ["a", "b"]) == ("a", "b")
    assert checks.names("L", "tops", None) == ()
    for value in ("data", ["a", 3], [""], 5, {"a"}):
        message = f"L: expected tops to be a list of blob names such as ['data'], received {value!r}."
        failing(lambda value=value: checks.names("L", "tops", value), message)


def test_layers_check_themselves_on_construction():
    failing(
        lambda: ReluLayer(name="r", bottoms="data"),
        "ReluLayer 'r': expected bottoms to be a list of blob names such as ['data'], received 'data'.",
    )
    failing(lambda: ReluLayer(name=3), "ReluLayer: expected name to be a string, received 3.")
    failing(
        lambda: MemoryLayer(name="d", arrays=()),
        "MemoryLayer(d): expected batch_size to be an integer >= 1, received 0.",
    )
    with pytest.raises(TypeError):
        PoolingLayer("pool", 2)


def test_layers_are_named_after_their_first_top():
    assert ReluLayer(bottoms=["a"], tops=["b"]).name == "b"
    assert PoolingLayer(bottoms=["a"]).name == "pooling"
    assert str(ReluLayer(name="r")) == "ReluLayer(r)"


def test_layers_are_frozen_and_compared_by_identity():
    a, b = (ReluLayer(name="r", bottoms=["x"], tops=["y"]) for _ in range(2))
    assert a != b
    assert len({a, b}) == 2
    with pytest.raises(AttributeError):
        a.name = "other"


def test_solver_parameters():
    wrong = {"max_iter": 0, "accumulate": 0, "regu_coef": -1, "lr_policy": "x", "momentum": 2, "check_finite": None}
    for field, value in wrong.items():
        with pytest.raises(ConfigurationError, match=f"SolverParameters: expected {field} to be"):
            mocha.SolverParameters(**({"max_iter": 1} | {field: value}))


def test_systems():
    with pytest.raises(ConfigurationError, match=r"System: expected dtype to be one of .*received 'float16'"):
        mocha.System("plain", dtype="float16")
    with pytest.raises(ConfigurationError, match="System: expected seed to be an integer >= 0, received -1"):
        mocha.System("plain", seed=-1)
    with pytest.raises(ConfigurationError, match=r"Backend 'plain' does not take these options: threads"):
        mocha.System("plain", threads=2)
    with pytest.raises(mocha.MochaError, match=r"No backend 'plian'. Did you mean 'plain'\?"):
        mocha.System("plian")
