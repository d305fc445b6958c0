"""What the classes of the kit have in common: expected failures, inputs, comparisons."""

import subprocess
import sys

import numpy as np
import pytest

from mocha_core.errors import ConfigurationError
from mocha_core.testing import OpTests, assert_close, numeric_gradient
from mocha_core.testing.inputs import away_from, distinct, labels, probabilities

SUITE = """
import numpy as np


from mocha_core.graph.op import Op
from mocha_core.testing import OpTests


class Square(Op):
    name = "kit.square"

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
