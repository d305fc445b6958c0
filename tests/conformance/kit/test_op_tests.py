"""`OpTests` notices what it is for: each of these ops and kernels has one fault."""

from dataclasses import replace

import numpy as np
import pytest
from faults.scale import (
    INPUTS,
    Broadcasting,
    Impure,
    ImpureBackward,
    NumPyism,
    OtherDtype,
    OtherShape,
    PackedScaleKernel,
    Passing,
    Scale,
    ScaleKernel,
    Together,
    Undeclared,
    WrongGradient,
)

from mocha_core import hookimpl
from mocha_core.errors import ConfigurationError
from mocha_core.plugin.manager import plugin_manager
from mocha_core.testing import OpCase, OpTests
from mocha_core.testing.backends import ReferenceBackend, StrictBackend
from mocha_core.testing.kernel_checks import check_deterministic, check_kernel, kernels
from mocha_core.testing.nan_checks import check_nan_in_kernel, check_nan_shows
from mocha_core.testing.op_case import check_infer, check_op_gradients
from mocha_core.testing.tolerances import TOLERANCES


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
        (Impure, AssertionError, "forward of op .* wrote into its operand 0"),
        (ImpureBackward, AssertionError, "backward of op .* wrote into its operand 0"),
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
    with pytest.raises(AssertionError, match=r"gradient of input 1 of op 'kit\.scale': relative error 1e-05"):
        check_op_gradients(OpCase(WrongGradient(), INPUTS))
    with pytest.raises(AssertionError, match=r"passes_gradient of op 'kit\.scale': dy, as the gradient of input 0"):
        check_op_gradients(OpCase(Passing(), INPUTS))


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
        kernels.add("kit.scale", "reference", lambda backend, call: ScaleKernel("adds"))


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

    with pytest.raises(AssertionError, match="result 0: relative error"):
        TestScale().test_expected("op")


class HidesNaN(Scale):
    def forward(self, xp, x, w):
        return xp.where(xp.isnan(x), xp.zeros_like(x), x) * w


def test_an_op_that_hides_nan():
    check_nan_shows(OpCase(Scale(), INPUTS))
    with pytest.raises(AssertionError, match=r"depend on element \(0, 0\) of input 0, but none is NaN"):
        check_nan_shows(OpCase(HidesNaN(), INPUTS))


class NaNHidingKernel(ScaleKernel):
    def forward(self, ins, outs, add):
        return lambda: np.multiply(np.nan_to_num(ins[0]), ins[1], out=outs[0])


def test_a_kernel_that_hides_nan():
    case = OpCase(Scale(), INPUTS)
    check_nan_in_kernel(case, ReferenceBackend(), ScaleKernel(), "float32")
    with pytest.raises(AssertionError, match=r"expected 1 elements of output 0 to be NaN.* received 0"):
        check_nan_in_kernel(case, ReferenceBackend(), NaNHidingKernel(), "float32")


class Padded(Scale):
    """Multiplies a zero as well, before the first element of x."""

    def forward(self, xp, x, w):
        return xp.concat([xp.zeros_like(x[:1]), x[1:]]) * w


class PaddingKernel(ScaleKernel):
    """Leaves that out, and makes `there` of it."""

    there = 0.0

    def forward(self, ins, outs, add):
        def run():
            np.multiply(ins[0], ins[1], out=outs[0])
            outs[0][0] = self.there

        return run


class PoisonedKernel(PaddingKernel):
    there = np.nan


def test_a_kernel_that_leaves_out_what_is_multiplied_by_padding():
    case = OpCase(Padded(), INPUTS)
    check_nan_in_kernel(case, ReferenceBackend(), PaddingKernel(), "float32")
    with pytest.raises(AssertionError, match="that are not NaN there"):
        check_nan_in_kernel(case, ReferenceBackend(), PoisonedKernel(), "float32")


class Restless(ScaleKernel):
    count = 0

    def forward(self, ins, outs, add):
        Restless.count += 1
        return lambda: np.multiply(ins[0], ins[1] + Restless.count * 1e-9, out=outs[0])


def test_a_kernel_that_computes_something_else_each_time():
    case = OpCase(Scale(), INPUTS)
    check_deterministic(case, ReferenceBackend(), ScaleKernel(), "float64")
    with pytest.raises(AssertionError, match="other bits in a second run"):
        check_deterministic(case, ReferenceBackend(), Restless(), "float64")


class Trusting(Scale):
    def infer(self, x, w):
        return (x._replace(shape=(x.shape[0], w.shape[0])),)


class Listing(Scale):
    def infer(self, x, w):
        return [x]


@pytest.mark.parametrize(
    ("op", "message"),
    [(Trusting, "expected a ShapeError, received IndexError"), (Listing, "expected a tuple of specs")],
)
def test_specs_that_make_no_sense(op, message):
    check_infer(OpCase(Scale(), INPUTS))
    with pytest.raises(AssertionError, match=message):
        check_infer(replace(OpCase(Scale(), INPUTS), op=op()))


def test_a_class_without_an_op_is_no_test():
    with pytest.raises(ConfigurationError, match="give it an op"):

        class TestNothing(OpTests):
            pass
