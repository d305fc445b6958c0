"""`OpTests` notices what it is for: each of these ops and kernels has one fault."""

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
    Scale,
    ScaleKernel,
    Together,
    Undeclared,
    WrongGradient,
)

from mocha_core import hookimpl
from mocha_core.plugins import plugin_manager
from mocha_core.testing import OpCase, OpTests
from mocha_core.testing.backends import ReferenceBackend, StrictBackend
from mocha_core.testing.kernel_checks import check_kernel, kernels
from mocha_core.testing.op_case import check_op_gradients
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

    with pytest.raises(AssertionError, match="result 0: relative error"):
        TestScale().test_expected("op")
