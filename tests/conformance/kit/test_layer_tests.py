"""`LayerTests` and `check_layer` notice what they are for: each of these layers has one fault."""

import pytest
from faults.scale import (
    Broadcasting,
    Counting,
    Impure,
    ImpureBackward,
    MixingRows,
    NoGradient,
    OtherDtype,
    ScaleLayer,
    WrongGradient,
    scale_layer,
)

from mocha_core.errors import ConfigurationError, ShapeError
from mocha_core.layer import Layer
from mocha_core.op import Op
from mocha_core.plan import Phase
from mocha_core.testing import LayerCase, LayerTests, check_layer, layer_checks
from mocha_core.testing.inputs import distinct
from mocha_core.value import Spec


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
        (Impure, "fails check_reference in float32: forward of op .* wrote into operand 0"),
        (ImpureBackward, "fails check_reference in float32: backward of op .* wrote into operand 0"),
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
    name = "kit_test_mean"
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
