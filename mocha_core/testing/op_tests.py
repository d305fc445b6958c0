"""`OpTests`: the test class for ops and their kernels. Needs pytest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from mocha_core.op import Op
from mocha_core.testing.backends import open_any
from mocha_core.testing.conformance import Conformance
from mocha_core.testing.kernel_checks import check_kernel, kernels
from mocha_core.testing.op_case import OpCase, check_op_gradients
from mocha_core.testing.tolerances import assert_close

if TYPE_CHECKING:
    from numpy.typing import NDArray


class OpTests(Conformance):
    """Subclass it as `Test...`, and set `op` and `inputs`, or `cases` for several of them.

    The reference, and every kernel registered for the op, run on every backend.

    Attributes:
        op: with its attributes.
        inputs: float64 arrays, which are cast where a net of float32 would; labels and cells in their dtypes.
        cases: `OpCase(op, inputs)` by name, for an op whose attributes change what it computes.
    """

    op: ClassVar[Op | None] = None
    inputs: ClassVar[Sequence[Any]] = ()
    cases: ClassVar[Mapping[str, OpCase]] = {}

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if cls.op is not None:
            cls.cases = {"op": OpCase(cls.op, cls.inputs), **cls.cases}

    def expected(self, op: Any, inputs: Sequence[NDArray[Any]]) -> Sequence[Any] | None:
        """What forward should return, by an independent implementation; None: not tested.

        Returns:
            The results in order; those left out at the end are not tested.
        """
        return None

    def test_expected(self, name: str) -> None:
        case = self.cases[name]
        expected = self.expected(case.op, case.arrays("float64"))
        if expected is None:
            pytest.skip("the class expects nothing of this case")
        for i, (found, wanted) in enumerate(zip(case.exact("float64")[0], expected)):
            assert_close(f"result {i}", found, wanted, self.tolerances["float64"])

    def test_gradients(self, name: str) -> None:
        check_op_gradients(self.cases[name])

    def test_kernels(self, name: str, any_backend: str, dtype: str) -> None:
        case, backend = self.cases[name], open_any(any_backend)
        for plugin, kernel in kernels(case, backend, dtype):
            try:
                check_kernel(case, backend, kernel, dtype, self.tolerances[dtype])
            except AssertionError as error:
                raise AssertionError(f"{kernel.label} of plugin '{plugin}': {error}") from error
        backend.close()
