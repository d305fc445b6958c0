"""`OpTests`: the test class for ops and their kernels. Needs pytest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from mocha_core.errors import ConfigurationError
from mocha_core.graph.op import Op
from mocha_core.testing.backends import open_any
from mocha_core.testing.conformance import Conformance
from mocha_core.testing.kernel_checks import check_deterministic, check_kernel, kernels
from mocha_core.testing.nan_checks import check_nan_in_kernel, check_nan_shows
from mocha_core.testing.op_case import OpCase, check_infer, check_op_gradients
from mocha_core.testing.tolerances import assert_close

if TYPE_CHECKING:
    from numpy.typing import NDArray


class OpTests(Conformance):
    """The requirements on an op and its kernels. Subclass it as `Test...`, and set `op` and `inputs`, or `cases`:

        class TestScale(OpTests):
            op = Scale(factor=3.0)
            inputs = [distinct((4, 3))]

            def expected(self, op, inputs):
                return [op.factor * inputs[0]]

    The reference is compared with central differences. The reference, and every kernel that any plugin registers for
    the op, runs on every backend: in both dtypes, overwriting and adding, for all gradients and for each alone, with
    saved outputs and without, twice, and with a NaN in its inputs. `infer` is called with wrong specs.

    Attributes:
        op: the op, with its attributes.
        inputs: float64 arrays, which are cast as in a net of float32; labels and cells in their own dtypes.
        valid_rows: how many rows count, for an op with that number as an input.
        cases: `OpCase(op, inputs)` by name, for an op whose attributes change its results.
        xfail: tests that are known to fail, and why.
    """

    op: ClassVar[Op | None] = None
    inputs: ClassVar[Sequence[Any]] = ()
    valid_rows: ClassVar[int | None] = None
    cases: ClassVar[Mapping[str, OpCase]] = {}

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if cls.op is not None:
            cls.cases = {**cls.cases, "op": OpCase(cls.op, cls.inputs, valid_rows=cls.valid_rows)}
        if not cls.cases and cls.__name__.startswith("Test"):
            raise ConfigurationError(f"{cls.__name__}: give it an op and its inputs, or cases of them.")

    def expected(self, op: Any, inputs: Sequence[NDArray[Any]]) -> Sequence[Any] | None:
        """The right results of forward, by an independent implementation; None: not tested.

        Returns:
            The results in order; those left out at the end are not tested.
        """
        return None

    def test_expected(self, name: str) -> None:
        case = self.cases[name]
        expected = self.expected(case.op, case.arrays("float64"))
        if expected is None:
            pytest.skip("the class does not define expected() for this case")
        for i, (found, wanted) in enumerate(zip(case.exact("float64")[0], expected)):
            assert_close(f"result {i}", found, wanted, self.tolerances["float64"])

    def test_gradients(self, name: str) -> None:
        check_op_gradients(self.cases[name])

    def test_kernels(self, name: str, any_backend: str, dtype: str) -> None:
        self.for_kernels(name, any_backend, dtype, partial(check_kernel, tolerance=self.tolerances[dtype]))

    def test_deterministic(self, name: str, any_backend: str, dtype: str) -> None:
        self.for_kernels(name, any_backend, dtype, check_deterministic)

    def test_nan(self, name: str) -> None:
        check_nan_shows(self.cases[name])

    def test_nan_in_kernels(self, name: str, any_backend: str, dtype: str) -> None:
        self.for_kernels(name, any_backend, dtype, check_nan_in_kernel)

    def for_kernels(self, name: str, any_backend: str, dtype: str, check: Callable[..., None]) -> None:
        """Call a check for each kernel that accepts the case."""
        case, backend = self.cases[name], open_any(any_backend)
        for plugin, kernel in kernels(case, backend, dtype):
            try:
                check(case, backend, kernel, dtype)
            except AssertionError as error:
                raise AssertionError(f"{kernel.label} of plugin '{plugin}': {error}") from error
        backend.close()

    def test_infer(self, name: str) -> None:
        check_infer(self.cases[name])
