"""The kit notices what it is for: each of these layers, ops and kernels has one fault."""

import subprocess
import sys

import numpy as np
import pytest

from mocha_core import hookimpl
from mocha_core.errors import ConfigurationError, ShapeError
from mocha_core.kernel import Kernel
from mocha_core.layer import Layer, TrainableLayer
from mocha_core.layout import Layout, Layouts
from mocha_core.op import Op
from mocha_core.plan import Phase
from mocha_core.plugins import plugin_manager
from mocha_core.testing import (
    LayerCase,
    LayerTests,
    OpCase,
    OpTests,
    assert_close,
    check_layer,
    layer_checks,
    numeric_gradient,
)
from mocha_core.testing.backends import ReferenceBackend, StrictBackend
from mocha_core.testing.inputs import away_from, distinct, labels, probabilities
from mocha_core.testing.kernel_checks import check_kernel, kernels
from mocha_core.testing.op_case import check_op_gradients
from mocha_core.testing.probe import Drawn
from mocha_core.testing.tolerances import TOLERANCES
from mocha_core.value import Spec


class Scale(Op):
    """y = x * w, w (features,)."""

    name = "kit_test_scale"
    backward_reads = ("x",)

    def infer(self, x, w):
        if x.shape[1:] != w.shape:
            raise ShapeError(f"expected rows of shape {w.shape}, received {x}.")
        return (x,)

    def forward(self, xp, x, w):
        return x * w

    def backward(self, xp, dy, x, y, wanted):
        return dy[0] * x[1], xp.sum(dy[0] * x[0], axis=0)


class ScaleLayer(TrainableLayer):
    def check(self):
        super().check()
        if not self.bottoms:
            raise ConfigurationError(f"{self}: expected one or more bottoms, received none.")

    def build(self, b, *bottoms):
        w = b.param("scale", bottoms[0].shape[1:], Drawn(3))
        return tuple(b.call(self.op(), bottom, w)[0] for bottom in bottoms)

    def op(self):
        return Scale()


def scale_layer(op):
    class Faulty(ScaleLayer):
        def op(self):
            return op()

    return Faulty(bottoms=["x"], tops=["y"])


class WrongGradient(Scale):
    def backward(self, xp, dy, x, y, wanted):
        return dy[0] * x[1], xp.sum(dy[0] * x[0], axis=0) * 1.00001


class NoGradient(Scale):
    differentiable = (1,)


class Broadcasting(Scale):
    def forward(self, xp, x, w):
        return xp.sum(x, axis=1, keepdims=True)


class OtherDtype(Scale):
    def forward(self, xp, x, w):
        return xp.astype(x * w, xp.float64)


class MixingRows(Scale):
    def forward(self, xp, x, w):
        return (x - xp.mean(x, axis=0)) * w

    def backward(self, xp, dy, x, y, wanted):
        return (dy[0] - xp.mean(dy[0], axis=0)) * x[1], xp.sum(dy[0] * (x[0] - xp.mean(x[0], axis=0)), axis=0)


class Undeclared(Scale):
    backward_reads = ("x1",)


class Impure(Scale):
    def forward(self, xp, x, w):
        x *= w
        return x


class ImpureBackward(Scale):
    def backward(self, xp, dy, x, y, wanted):
        dy[0][...] = dy[0] * x[1]
        return dy[0], xp.sum(dy[0] * x[0], axis=0)


class NumPyism(Scale):
    def forward(self, xp, x, w):
        return np.multiply(x, w) if xp is np else xp.multiply(x, w)


class OtherShape(Scale):
    def backward(self, xp, dy, x, y, wanted):
        return dy[0] * x[1], xp.sum(dy[0] * x[0], axis=0, keepdims=True)


class Together(Scale):
    def backward(self, xp, dy, x, y, wanted):
        both = wanted[0] and wanted[1]
        return dy[0] * x[1], xp.sum(dy[0] * x[0], axis=0) * (1.0 if both else 2.0)


class Counting(Scale):
    count = 0

    def forward(self, xp, x, w):
        Counting.count += 1
        return x * w + Counting.count


INPUTS = [distinct((4, 3)), distinct((3,), 1)]


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


def check_references(case):
    for backend in (ReferenceBackend(), StrictBackend()):
        for dtype, tolerance in TOLERANCES.items():
            for _, kernel in kernels(case, backend, dtype):
                check_kernel(case, backend, kernel, dtype, tolerance)


@pytest.mark.parametrize(
    ("op", "error", "message"),
    [
        (Broadcasting, AssertionError, r"forward of .*, result 0: expected float32\[4, 3\], received float32\[4, 1\]"),
        (OtherDtype, AssertionError, r"forward of .*, result 0: expected float32\[4, 3\], received float64\[4, 3\]"),
        (OtherShape, AssertionError, r"backward of .*, result 1: expected float32\[3\], received float32\[1, 3\]"),
        (Impure, AssertionError, "forward of op .* wrote into operand 0"),
        (ImpureBackward, AssertionError, "backward of op .* wrote into operand 0"),
        (Together, AssertionError, r"gradient of input 1, overwritten, when \[1\] are wanted"),
        (Undeclared, TypeError, "NoneType"),
        (NumPyism, AttributeError, "multiply"),
    ],
)
def test_the_checks_of_kernels_find_in_a_reference(op, error, message):
    check_references(OpCase(Scale(), INPUTS))
    with pytest.raises(error, match=message):
        check_references(OpCase(op(), INPUTS))


def test_the_check_of_gradients_finds():
    check_op_gradients(OpCase(Scale(), INPUTS))
    with pytest.raises(AssertionError, match="gradient of input 1 of op 'kit_test_scale': relative error 1e-05"):
        check_op_gradients(OpCase(WrongGradient(), INPUTS))


class ScaleKernel(Kernel):
    """Right, but for its `fault`."""

    def __init__(self, fault=""):
        self.fault = fault

    def forward(self, ins, outs, add):
        (x, w), (y,), fault = ins, outs, self.fault

        def run():
            if fault == "forward":
                np.multiply(x[1:], w, out=y[1:])
                return
            np.multiply(x, w, out=y)
            if fault == "writes":
                x[...] = 0

        return run

    def backward(self, ins, outs, add):
        (dy, x, w), fault = ins[:3], self.fault

        def run():
            for out, adds, value in zip(outs, add, (dy * w, (dy * x).sum(axis=0))):
                if out is None and fault != "wanted":
                    continue
                if (adds and fault != "adds") or fault == "overwrites":
                    out += value
                else:
                    out[...] = value

        return run


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("forward", "result 0 of forward .* relative error nan"),
        ("writes", "input 0 was changed"),
        ("overwrites", "gradient of input 0, overwritten"),
        ("adds", "gradient of input 0, added"),
        ("wanted", "NoneType"),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_kernel_check_finds(fault, message, dtype):
    case, backend = OpCase(Scale(), INPUTS), ReferenceBackend()
    check_kernel(case, backend, ScaleKernel(), dtype, TOLERANCES[dtype])
    with pytest.raises((AssertionError, TypeError), match=message):
        check_kernel(case, backend, ScaleKernel(fault), dtype, TOLERANCES[dtype])


class FeaturesFirst(Layout):
    """(features, rows), with rows padded to a multiple of 3."""

    name = "features first"

    def physical(self, spec):
        rows, features = spec.shape
        return Spec((features, -(-rows // 3) * 3), spec.dtype)

    def pack(self, backend, plain, packed, *, gradient, add):
        rows = len(plain)
        packed[:, :rows] = plain.T
        packed[:, rows:] = 0 if gradient else plain[-1:].T

    def unpack(self, backend, packed, plain, *, add):
        plain[...] = packed[:, : len(plain)].T


FEATURES_FIRST = FeaturesFirst()


class PackedScaleKernel(Kernel):
    """Relies on gradients of padding rows being zero."""

    layouts = Layouts(ins=(FEATURES_FIRST,), outs=(FEATURES_FIRST,))
    forward_workspace = (Spec((3, 6), "float64"),)

    def forward(self, ins, outs, add):
        (x, w), (y, scratch) = ins, outs

        def run():
            np.multiply(x, w[:, np.newaxis], out=scratch)
            y[...] = scratch

        return run

    def backward(self, ins, outs, add):
        dy, x, w = ins[:3]

        def run():
            for out, adds, value in zip(outs, add, (dy * w[:, np.newaxis], (dy * x).sum(axis=1))):
                if out is not None:
                    out[...] = out + value if adds else value

        return run


def test_a_kernel_with_a_layout_of_its_own():
    check_kernel(OpCase(Scale(), INPUTS), ReferenceBackend(), PackedScaleKernel(), "float64", 1e-12)

    class CountsPadding(PackedScaleKernel):
        def backward(self, ins, outs, add):
            dy, x, w = ins[:3]
            return super().backward([dy + 0.1, x, w], outs, add)

    with pytest.raises(AssertionError, match="gradient of input 0, overwritten"):
        check_kernel(OpCase(Scale(), INPUTS), ReferenceBackend(), CountsPadding(), "float64", 1e-12)


class BrokenKernels:
    @hookimpl
    def mocha_register_kernels(self, kernels):
        kernels.add("kit_test_scale", "reference", lambda backend, call: ScaleKernel("adds"))


def test_registered_kernels_are_tested():
    plugin_manager().add_plugin(BrokenKernels(), "acme-kernels")

    class TestScale(OpTests):
        op, inputs = Scale(), INPUTS

    try:
        with pytest.raises(AssertionError, match="ScaleKernel of plugin 'acme-kernels': gradient of input 0, added"):
            TestScale().test_kernels("op", "reference", "float64")
    finally:
        plugin_manager().remove_plugin("acme-kernels")
    TestScale().test_kernels("op", "reference", "float64")


def test_wrong_expectations_fail():
    class TestScale(OpTests):
        op, inputs = Scale(), INPUTS

        def expected(self, op, inputs):
            return [inputs[0] + inputs[1]]

    class TestScaleLayer(LayerTests):
        layer, bottoms = ScaleLayer(bottoms=["x"], tops=["y"]), [(4, 3)]

        def expected(self, layer, bottoms, parameters):
            return [bottoms[0] + parameters["scale"]]

    with pytest.raises(AssertionError, match="result 0: relative error"):
        TestScale().test_expected("op")
    with pytest.raises(AssertionError, match="'y': relative error"):
        TestScaleLayer().test_expected("layer", Phase.TRAIN, "reference", "float64")


SUITE = """
import numpy as np

from mocha_core.op import Op
from mocha_core.testing import OpTests

class Square(Op):
    name = "kit_test_square"

    def infer(self, x):
        return (x,)

    def forward(self, xp, x):
        return x * x

    def backward(self, xp, dy, x, y, wanted):
        return (3 * x[0] * dy[0],)

class TestKnown(OpTests):
    op, inputs, backends = Square(), [np.ones((2, 2))], ["reference"]
    xfail = {
        "test_gradients": "taken from another paper",
        "test_kernels[op-reference-float64]": "it was once",
    }
"""


def test_expected_failures_are_counted_and_must_fail(tmp_path):
    (tmp_path / "test_suite.py").write_text(SUITE)
    options = ["-q", "-p", "no:cacheprovider", "--rootdir", tmp_path]
    command = [sys.executable, "-m", "pytest", *options, tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert "[XPASS(strict)] it was once" in done.stdout, done.stdout
    assert "1 failed, 7 passed, 1 skipped, 1 xfailed" in done.stdout, done.stdout


def test_a_standard_test_cannot_be_replaced_or_excused_without_a_reason():
    with pytest.raises(ConfigurationError, match="replaces the standard test_kernels"):

        class TestReplaced(OpTests):
            def test_kernels(self):
                pass

    with pytest.raises(ConfigurationError, match="received 'test_kernel'"):

        class TestMisspelt(OpTests):
            xfail = {"test_kernel": "a reason"}

    with pytest.raises(ConfigurationError, match="to reasons"):

        class TestNoReason(OpTests):
            xfail = {"test_kernels": ""}


def test_numeric_gradient_of_a_polynomial():
    x = distinct((3, 4))
    assert_close("gradient", numeric_gradient(lambda a: np.sum(a**3), x), 3 * x**2, 1e-9)


def test_assert_close():
    assert_close("x", [1.0, 2.0], [1.0, 2.0 + 1e-13], 1e-12)
    with pytest.raises(AssertionError, match=r"x: .* worst element is at \(1,\): expected 2.1, received 2.0"):
        assert_close("x", [1.0, 2.0], [1.0, 2.1], 1e-3)
    with pytest.raises(AssertionError, match="relative error nan"):
        assert_close("x", [1.0, np.nan], [1.0, 2.0], 1e-3)
    with pytest.raises(AssertionError, match=r"expected shape \(2,\), received \(1, 2\)"):
        assert_close("x", [[1.0, 2.0]], [1.0, 2.0], 1e-3)
    with pytest.raises(AssertionError, match="expected 1000001, received 1000000"):
        assert_close("x", [1_000_000], [1_000_001], 1e-3)


@pytest.mark.parametrize("shape", [(3, 3), (2, 5), (1,)])
def test_inputs_are_away_from_kinks(shape):
    x = distinct(shape, 5)
    values = np.sort(x.ravel())
    assert np.all(np.diff(values) > 1 / x.size)
    assert np.all(np.abs(x) >= 0.5 / x.size)
    assert np.all(np.abs(away_from(x, 0.2, 0.1) - 0.2) > 0.0999)
    assert np.array_equal(x, distinct(shape, 5))


def test_probabilities_and_labels():
    np.testing.assert_allclose(probabilities((3, 4, 2)).sum(axis=1), 1.0)
    drawn = labels((100,), 4)
    assert drawn.dtype == np.int32
    assert set(drawn) == {0, 1, 2, 3}


def test_the_kit_does_not_need_pytest():
    code = (
        "import sys; sys.modules['pytest'] = None\n"
        "from mocha_core.testing import check_layer, numeric_gradient, OpCase\n"
        "try:\n    from mocha_core.testing import LayerTests\n"
        "except ImportError: print('needs pytest')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "needs pytest"
