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
from mocha_core.plugin.manager import PluginRecord, plugin_manager, registries


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
    for value in (3, np.int8(3), np.array(3)):
        assert checks.pair("L", "kernel", value) == (3, 3)
    for value in ("33", (1, 2, 3), (1,)):
        message = f"L: expected kernel to be two integers (width, height), or one for both; received {value!r}."
        failing(lambda value=value: checks.pair("L", "kernel", value), message)
    for value in ((1, 0), 0):
        failing(
            lambda value=value: checks.pair("L", "kernel", value),
            "L: expected kernel to be an integer >= 1, received 0.",
        )


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
        lambda: MemoryLayer(name="d", arrays=(), batch_size=0),
        "MemoryLayer(d): expected batch_size to be an integer >= 1, received 0.",
    )
    with pytest.raises(TypeError):
        PoolingLayer("pool", 2)


def test_values_are_shown_in_bounds():
    images = np.zeros((60000, 28, 28), np.float32)
    shown = {
        "array float32[60000, 28, 28]": images,
        "[array float32[60000, 28, 28], array int64[5]]": [images, np.arange(5)],
        "'0.5'": "0.5",
        "an integer of 16610 bits": 10**5000,
    }
    for text, value in shown.items():
        assert checks.shown(value) == text
    for value in ("x" * 10**6, list(range(10**6)), dict.fromkeys(range(10**5), "x" * 1000), [[["x" * 90] * 9] * 9] * 9):
        assert len(checks.shown(value)) <= 200
        with pytest.raises(ConfigurationError) as caught:
            checks.pair("L", "kernel", value)
        assert len(str(caught.value)) <= 300


def test_layers_show_arrays_by_their_shape():
    layer = MemoryLayer(name="d", arrays=(np.zeros((1000, 28)),), batch_size=2)
    assert "arrays=(array float64[1000, 28],)" in repr(layer)
    assert repr(layer).startswith("MemoryLayer(name='d', bottoms=(), tops=")


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
    wrong = {"max_iter": 0, "accumulate": 0, "regu_coef": -1, "lr_policy": "x", "check_finite": None}
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
    with pytest.raises(
        ConfigurationError, match=r"'plain' .* these options: sed\..*'sed' is near to System's own 'seed'"
    ):
        mocha.System("plain", sed=2)
    with pytest.raises(mocha.MochaError, match=r"No backend 'plian'. Did you mean 'plain'\?"):
        mocha.System("plian")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gpu", r"No backend 'gpu'\. .*'cuda'.*Registered: .*plain"),
        ("GPU", "No backend 'GPU'\\. .*'cuda'"),
        ("cuda:0", "'cuda'"),
        ("Plain", r"No backend 'Plain'\. Use 'plain'\."),
        ("numpy", "'cpu'"),
        ("x" * 10_000, r"No backend 'x{60}\.\.\.'\. Registered: "),
    ],
)
def test_backends_by_the_names_of_others(name, message):
    with pytest.raises(mocha.MochaError, match=message) as caught:
        mocha.System(name)
    assert len(str(caught.value)) < 500


def test_backends_that_are_not_installed(monkeypatch):
    names = registries().backends.names()
    monkeypatch.setattr(type(registries().backends), "names", lambda self: [n for n in names if n != "cuda"])
    for name in ("gpu", "cuda"):
        with pytest.raises(mocha.MochaError, match=rf"No backend '{name}'\. .*pip install mocha-cuda\[cuda12\]"):
            mocha.System(name)
    broken = PluginRecord("cuda", "mocha-cuda", "1.0", "failed", ImportError("no"))
    monkeypatch.setattr(plugin_manager(), "records", [broken])
    with pytest.raises(mocha.MochaError, match=r"'cuda' belongs to mocha-cuda 1\.0 .*, which is failed"):
        mocha.System("gpu")
