"""`LayerTests` and `check_layer` notice what they are for: each of these layers has one fault."""

import itertools
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from faults.scale import (
    Broadcasting,
    Counting,
    Impure,
    ImpureBackward,
    MixingRows,
    NoGradient,
    OtherDtype,
    Scale,
    ScaleLayer,
    WrongGradient,
    scale_layer,
)

from mocha_core.describe.layer import ComputationLayer, Layer
from mocha_core.errors import ConfigurationError, ShapeError
from mocha_core.graph import array_api
from mocha_core.graph.op import Op
from mocha_core.graph.plan import Phase
from mocha_core.graph.value import Spec
from mocha_core.net.net import Net
from mocha_core.testing import LayerCase, LayerTests, check_layer, layer_checks
from mocha_core.testing.backends import ReferenceBackend
from mocha_core.testing.inputs import distinct
from mocha_core.testing.layer_checks import check_batch_sizes, check_frozen, check_one_blob_twice, check_two_nets
from mocha_core.testing.layer_description import check_description
from mocha_core.testing.layer_errors import check_errors
from mocha_core.testing.surrounding_layers import Drawn


def test_a_sound_layer_passes():
    check_layer(ScaleLayer(bottoms=["x"], tops=["y"]), (4, 3))
    check_layer(ScaleLayer(bottoms=["x", "z"], tops=["y", "w"]), (4, 3), (4, 3), seed=3, backend="strict")


@pytest.mark.parametrize(
    ("op", "message"),
    [
        (WrongGradient, r"fails check_gradients in float32: 'd y.scale': relative error 1e-05, expected at most"),
        (NoGradient, "fails check_gradients in float32: no gradient reaches 'x'"),
        (
            Broadcasting,
            r"fails check_reference in float32: forward of op .*expected float64\[4, 3\], received float64\[4, 1\]",
        ),
        (OtherDtype, r"fails check_reference in float32: .*expected float32\[4, 3\], received float64\[4, 3\]"),
        (MixingRows, "fails check_rows in float32: 'y' of row 0 alone"),
        (Counting, "fails check_reference in float32: 'y' in phase train"),
        (Impure, "fails check_reference in float32: forward of op .* wrote into its operand 0"),
        (ImpureBackward, "fails check_reference in float32: backward of op .* wrote into its operand 0"),
    ],
)
def test_check_layer_names_the_fault_of(op, message):
    with pytest.raises(AssertionError, match=message):
        check_layer(scale_layer(op), (4, 3))


def test_checks_of_one_phase():
    layer = scale_layer(MixingRows)
    with pytest.raises(AssertionError, match="check_rows"):
        check_layer(layer, (4, 3), phase=Phase.TEST)
    with pytest.raises(
        AssertionError, match="check_valid_rows in float32: 'd x' is not zero in rows that do not count"
    ):
        check_layer(layer, (4, 3), phase=Phase.TRAIN)


def test_a_bottom_said_to_have_no_gradient_needs_none():
    check_layer(scale_layer(NoGradient), (4, 3), differentiable=[])


class Mean(Op):
    name = "kit.mean"
    backward_reads = ()
    rows: int

    def infer(self, x):
        return (Spec((), x.dtype),)

    def forward(self, xp, x):
        return xp.sum(x) / self.rows

    def backward(self, xp, dy, x, y, wanted):
        return (xp.zeros((self.rows, 3), dtype=dy[0].dtype) + dy[0] / self.rows,)


class MeanLossLayer(Layer):
    """Does not know that only some rows may count."""

    def build(self, b, x):
        b.loss(b.call(Mean(x.shape[0]), x)[0])
        return ()


def test_a_loss_that_counts_padding_rows():
    case = LayerCase(MeanLossLayer(bottoms=["x"]), [distinct((4, 3))])
    layer_checks.check_gradients(case)
    with pytest.raises(AssertionError, match="'d x' is not zero in rows that do not count; valid_rows is 2"):
        layer_checks.check_valid_rows(case)


class FoldLayer(ScaleLayer):
    """Two rows for each sample."""

    def build(self, b, x):
        if len(x.shape) != 2:
            raise ShapeError(f"expected rows of features, received {x.spec}.")
        (y,) = super().build(b, x)
        return (b.view(y, (2 * y.shape[0], y.shape[1] // 2)),)


def test_a_layer_that_makes_several_rows_of_each_sample():
    check_layer(FoldLayer(bottoms=["x"], tops=["y"]), (4, 6))


@pytest.mark.parametrize(
    ("bottoms", "names", "message"),
    [
        ([(4, 3), (4, 3)], ["x"], r"for the bottoms \['x'\], received \[\(4, 3\), \(4, 3\)\]"),
        ([(4, 3), (5, 3)], ["x", "z"], "one number of rows"),
    ],
)
def test_bottoms_that_do_not_fit_the_layer(bottoms, names, message):
    layer = ScaleLayer(bottoms=names, tops=[f"{name}2" for name in names])
    with pytest.raises(ConfigurationError, match=message):
        check_layer(layer, *bottoms)


def test_the_layers_own_errors_come_through():
    class Bad(Layer):
        def build(self, b, x):
            return (b.view(x, (1, 2)),)

    with pytest.raises(ShapeError, match="cannot view"):
        check_layer(Bad(bottoms=["x"], tops=["y"]), (4, 3))


def test_wrong_expectations_fail():
    class TestScaleLayer(LayerTests):
        layer, bottoms = ScaleLayer(bottoms=["x"], tops=["y"]), [(4, 3)]

        def expected(self, layer, bottoms, parameters):
            return [bottoms[0] + parameters["scale"]]

    for phase in Phase:
        with pytest.raises(AssertionError, match="'y': relative error"):
            TestScaleLayer().test_expected("layer", phase, "reference", "float64")


class Remembers(ScaleLayer):
    """Keeps what it was built with."""

    def build(self, b, *bottoms):
        object.__setattr__(self, "seen", bottoms)
        return super().build(b, *bottoms)


class Equal(ScaleLayer):
    def __eq__(self, other):
        return type(self) is type(other)

    def __hash__(self):
        return 1


class Anonymous(ScaleLayer):
    def __repr__(self):
        return "a layer"


class Thawed(ScaleLayer):
    """Can be changed."""


Thawed.__setattr__ = object.__setattr__


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Remembers, "running changed seen of Remembers"),
        (Equal, "equals it: layers are compared by identity"),
        (Anonymous, "expected repr and str to show Anonymous"),
        (Thawed, "field 'name' of Thawed can be changed"),
    ],
)
def test_what_changes_or_hides_a_description(kind, message):
    check_description(LayerCase(ScaleLayer(bottoms=["x"], tops=["y"]), [distinct((4, 3))]))
    with pytest.raises(AssertionError, match=message):
        check_description(LayerCase(kind(bottoms=["x"], tops=["y"]), [distinct((4, 3))]))


class Padding(ReferenceBackend):
    """Runs batches as a device would that pads them to a multiple of 4, and lets the padding show."""

    name = "padding"

    def __init__(self):
        super().__init__()
        self.xp = SimpleNamespace(**{name: getattr(np, name) for name in (*array_api.DTYPES, *array_api.FUNCTIONS)})
        self.xp.sum = lambda x, **options: np.sum(x, **options) + (0.01 if len(x) % 4 else 0.0)


def test_padding_that_leaks():
    case = LayerCase(ScaleLayer(bottoms=["x"], tops=["y"]), [distinct((4, 3))])
    check_batch_sizes(case)
    with pytest.raises(AssertionError, match=r"in a batch of 1 in phase train, against the reference"):
        check_batch_sizes(replace(case, backend=Padding))


NUMBERS = itertools.count()


class Lonely(ScaleLayer):
    """Has other parameters whenever it is built, by accident."""

    def build(self, b, *bottoms):
        w = b.param(f"scale {next(NUMBERS)}", bottoms[0].shape[1:], Drawn(3))
        return tuple(b.call(Scale(), bottom, w)[0] for bottom in bottoms)


def test_parameters_that_are_not_shared():
    check_two_nets(LayerCase(ScaleLayer(bottoms=["x"], tops=["y"]), [distinct((4, 3))]))
    with pytest.raises(AssertionError, match="do not share its parameters"):
        check_two_nets(LayerCase(Lonely(bottoms=["x"], tops=["y"]), [distinct((4, 3))]))


def test_frozen_layers_that_learn(monkeypatch):
    case = LayerCase(ScaleLayer(bottoms=["x"], tops=["y"]), [distinct((4, 3))])
    check_frozen(case)
    monkeypatch.setattr(Net, "freeze", lambda net, *layers: None)
    with pytest.raises(AssertionError, match=r"computed, but the layer is frozen"):
        check_frozen(case)


class Overwriting(Op):
    """y = a + b; its gradient goes to a alone where a and b are one blob."""

    name = "kit.overwriting"
    backward_reads = ()
    single: bool

    def infer(self, a, b):
        if a != b:
            raise ShapeError(f"expected two of one shape, received {a} and {b}.")
        return (a,)

    def forward(self, xp, a, b):
        return a + b

    def backward(self, xp, dy, x, y, wanted):
        return dy[0], None if self.single else dy[0]


class AddLayer(Layer):
    def build(self, b, first, second):
        return b.call(Overwriting(first is second and self.name == "faulty"), first, second)


def test_one_blob_as_two_bottoms():
    arrays = [distinct((4, 3)), distinct((4, 3), 1)]
    check_one_blob_twice(LayerCase(AddLayer(bottoms=["a", "b"], tops=["y"]), arrays))
    with pytest.raises(AssertionError, match="'d a' of one blob as two bottoms"):
        check_one_blob_twice(LayerCase(AddLayer(name="faulty", bottoms=["a", "b"], tops=["y"]), arrays))


class Unchecked(ComputationLayer):
    def build(self, b, x):
        return (b.view(x, (x.shape[0], x.shape[1] * x.shape[2])),)


class Silent(ComputationLayer):
    """Fails while it is made, and does not say who it is."""

    def check(self):
        if len(self.bottoms) != 1 or len(self.tops) != 1:
            raise ConfigurationError("wrong")

    def build(self, b, x):
        return (x,)


@pytest.mark.parametrize(
    ("kind", "message"),
    [(Unchecked, "bottom 'x' as float64.*expected a MochaError, received IndexError"), (Silent, "names 'y'")],
)
def test_errors_that_say_nothing(kind, message):
    with pytest.raises(AssertionError, match=message):
        check_errors(LayerCase(kind(bottoms=["x"], tops=["y"]), [distinct((2, 3, 4))]))


class Suite(LayerTests):
    layer, bottoms = ScaleLayer(bottoms=["x"], tops=["y"]), [(4, 3)]
    wrong = {
        "refused": (lambda: ScaleLayer(tops=["y"]), [], "one or more bottoms"),
        "accepted": (layer, [(4, 3)], "never"),
        "another error": (lambda: ScaleLayer(tops=["y"]), [], "never"),
    }


def test_mistakes_have_to_be_refused_in_the_right_words():
    Suite().test_wrong("refused")
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        Suite().test_wrong("accepted")
    with pytest.raises(AssertionError, match="did not match"):
        Suite().test_wrong("another error")


class DropsAlways(ScaleLayer):
    """In the test phase it does something else."""

    def build(self, b, *bottoms):
        return bottoms if b.phase is Phase.TEST else super().build(b, *bottoms)


def test_phases_are_told_apart():
    class Both(LayerTests):
        layer, bottoms = DropsAlways(bottoms=["x"], tops=["y"]), [(4, 3)]

        def expected(self, layer, bottoms, parameters):
            return [bottoms[0] * parameters["scale"]]

    class Apart(Both):
        def expected(self, layer, bottoms, parameters, phase):
            return bottoms if phase is Phase.TEST else super().expected(layer, bottoms, parameters)

    for phase in Phase:
        Apart().test_expected("layer", phase, "reference", "float64")
    Both().test_expected("layer", Phase.TRAIN, "reference", "float64")
    with pytest.raises(AssertionError, match="'y': relative error"):
        Both().test_expected("layer", Phase.TEST, "reference", "float64")


def test_it_says_what_was_checked():
    said = []
    check_layer(ScaleLayer(bottoms=["x"], tops=["y"]), (4, 3), say=said.append)
    assert len(said) > 10
    assert "The same run twice computes the same bits." in said


def test_a_class_without_a_layer_is_no_test():
    with pytest.raises(ConfigurationError, match="give it a layer"):

        class TestNothing(LayerTests):
            pass
