"""Arguments that a constructor does not take: an error that is a MochaError and a TypeError, with the way out."""

import inspect
from dataclasses import dataclass, replace

import pytest
from toys import nets
from toys.inner_product import InnerProductLayer
from toys.plain import Plain
from toys.sgd import SGD

import mocha_core as mocha
from mocha_core.describe.layer import Layer, Neuron
from mocha_core.describe.parameter import Initializer, Regularizer
from mocha_core.errors import ArgumentError, ConfigurationError, MochaError
from mocha_core.graph.op import Op
from mocha_core.train.coffee_break import CoffeeBreak
from mocha_core.train.solver import Policy


@dataclass(frozen=True)
class Decay(Policy):
    base_lr: float
    gamma: float = 0.5

    def __call__(self, iteration):
        return self.base_lr * self.gamma**iteration


class Swish(Neuron):
    def build(self, b, x):
        return x


@dataclass(frozen=True)
class Uniform(Initializer):
    low: float
    high: float

    def initialize(self, shape, random):
        return random.uniform(self.low, self.high, shape)


@dataclass(frozen=True)
class Elastic(Regularizer):
    coefficient: float

    def value(self, xp, w):
        return xp.sum(w)

    def gradient(self, xp, w):
        return w


class Notes(CoffeeBreak):
    def __init__(self, directory, keep=None):
        self.directory = directory


class ConvLayer(Layer):
    n_filter: int
    kernel: int
    stride: int = 1
    pad: int = 0
    n_group: int = 1
    neuron: Neuron | None = None

    def build(self, b, x):
        return (x,)


FIELDS = "Its fields: name, bottoms, tops, n_filter, kernel, stride, pad, n_group, neuron."


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: ConvLayer(name="c", n_filter=1, kernl=2),
         f"ConvLayer 'c': it has no field 'kernl' (did you mean 'kernel'?). {FIELDS}"),
        (lambda: ConvLayer(filters=1, kernel_size=2, strides=1, padding=0, groups=2, activation=None),
         "ConvLayer: it has no field 'activation' (did you mean 'neuron'?); it has no field 'filters' (did you mean "
         "'n_filter'?); it has no field 'groups' (did you mean 'n_group'?); it has no field 'kernel_size' (did you "
         "mean 'kernel'?); it has no field 'padding' (did you mean 'pad'?); it has no field 'strides' (did you mean "
         f"'stride'?). {FIELDS}"),
        (lambda: ConvLayer(num_output=1, kernel_w=2, something=1),
         "ConvLayer: it has no field 'kernel_w' (did you mean 'kernel'?); it has no field 'num_output' (did you mean "
         f"'n_filter'?); it has no field 'something'. {FIELDS}"),
        (lambda: ConvLayer(n_filter=3), f"ConvLayer: it needs kernel. {FIELDS}"),
        (lambda: ConvLayer("c", 10),
         f"ConvLayer: its fields are given by name, such as name=...; received 'c', 10 besides. {FIELDS}"),
        (lambda: replace(ConvLayer(n_filter=1, kernel=1), kernal=2),
         f"ConvLayer 'conv': it has no field 'kernal' (did you mean 'kernel'?). {FIELDS}"),
        (lambda: Swish(beta=1), "Swish: it has no argument 'beta'. It has no arguments."),
        (lambda: Swish(1), "Swish: it takes 0 arguments; received 1 besides. It has no arguments."),
        (lambda: Uniform(0.0), "Uniform: it needs high. Its fields: low, high."),
        (lambda: Uniform(0.0, 1.0, 2.0), "Uniform: it takes 2 fields; received 2.0 besides. Its fields: low, high."),
        (lambda: Elastic(coeficient=1),
         "Elastic: it has no field 'coeficient' (did you mean 'coefficient'?). Its fields: coefficient."),
        (lambda: Decay(), "Decay: it needs base_lr. Its fields: base_lr, gamma."),
        (lambda: Decay(0.1, base_lr=0.2), "Decay: multiple values for argument 'base_lr'. Its fields: base_lr, gamma."),
        (lambda: Notes(dir="x"),
         "Notes: it has no argument 'dir' (did you mean 'directory'?). Its arguments: directory, keep."),
        (lambda: SGD(mocha.SolverParameters(max_iter=1, learning_rate=1)),
         "SGD has no hyperparameter 'learning_rate'. Did you mean 'lr_policy'? Leave learning_rate=1 out of "),
        (lambda: mocha.SolverParameters(), "SolverParameters: it needs max_iter. Its fields: "),
        (lambda: SGD(), "SGD: it needs parameters. Its arguments: parameters."),
        (lambda: mocha.Net("net", layer=[]),
         "Net: it has no argument 'layer' (did you mean 'layers'?); it needs system. Its arguments: name, system, "),
        (lambda: mocha.System("plain", "float64"),
         "System: its arguments are given by name, such as dtype=...; received 'float64' besides. Its arguments: "),
    ],
)  # fmt: skip
def test_arguments_that_do_not_fit(build, message):
    with pytest.raises(ArgumentError) as caught:
        build()
    assert str(caught.value).startswith(message)
    assert isinstance(caught.value, MochaError)
    assert isinstance(caught.value, TypeError)
    assert isinstance(caught.value, ValueError)


def test_a_type_error_of_the_constructor_itself_comes_through():
    class Fails(CoffeeBreak):
        def __init__(self, number):
            self.number = number + ""

    with pytest.raises(TypeError, match="unsupported operand") as caught:
        Fails(3)
    assert not isinstance(caught.value, MochaError)


@pytest.mark.parametrize("decorate", [dataclass, dataclass(frozen=True), dataclass(frozen=True, kw_only=True)])
@pytest.mark.parametrize("base", [Layer, Op])
def test_a_description_that_is_decorated_again(decorate, base):
    with pytest.raises(ConfigurationError, match=r"^Mine: its base makes a dataclass .* Remove the decorator"):

        @decorate
        class Mine(base):
            size: int


def test_signatures_are_those_of_the_fields():
    assert list(inspect.signature(ConvLayer).parameters)[-6:] == [
        "n_filter",
        "kernel",
        "stride",
        "pad",
        "n_group",
        "neuron",
    ]
    assert list(inspect.signature(Notes).parameters) == ["directory", "keep"]
    assert list(inspect.signature(Swish).parameters) == []


def test_what_has_a_name_is_found_in_a_message():
    with mocha.System(Plain()) as system:
        layers = [nets.data(), InnerProductLayer(name="x", output_dim=3, bottoms=["data"], tops=["x"])]
        with pytest.raises(ArgumentError, match="Net 'a net': it has no argument 'kep'"):
            mocha.Net(name="a net", system=system, layers=layers, kep=["x"])
