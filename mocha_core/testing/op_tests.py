"""`OpTests`: the test class for ops and their kernels. Needs pytest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pytest

from mocha_core.op import Op
from mocha_core.testing import op_checks as checks
from mocha_core.testing.backends import open_any
from mocha_core.testing.conformance import Conformance
from mocha_core.testing.kernel_checks import check_kernel, kernels
from mocha_core.testing.op_checks import OpCase
from mocha_core.testing.tolerances import assert_close

if TYPE_CHECKING:
    from numpy.typing import NDArray


class OpTests(Conformance):
    """Subclass it as `Test...`, and set `op` and `inputs`, or `cases` for several of them.

    Every kernel registered for the op runs on every backend against the op's reference.

    Attributes:
        op: with its attributes.
        inputs: float64 arrays, which are cast where a net of float32 would; labels and cells in their dtypes.
        cases: `OpCase(op, inputs)` by name, for an op whose attributes change what it computes.
    """

    op: ClassVar[Op | None] = None
    inputs: ClassVar[Sequence[Any]] = ()
    cases: ClassVar[Mapping[str, OpCase]] = {}

    def expected(self, op: Any, inputs: Sequence[NDArray[Any]]) -> Sequence[Any] | None:
        """What forward should return, by an independent implementation; None: not checked.

        Returns:
            The results in order; those left out at the end are not checked.
        """
        return None

    @classmethod
    def parameters(cls) -> Mapping[str, Sequence[Any]]:
        return {"name": [*cls.cases, *([] if cls.op is None else ["op"])], **super().parameters()}

    def case(self, name: str) -> OpCase:
        """The case of that name; "op" for that of `op` and `inputs`."""
        if name in self.cases:
            return self.cases[name]
        assert self.op is not None
        return OpCase(self.op, self.inputs)

    def test_expected(self, name: str, dtype: str) -> None:
        case = self.case(name)
        arrays = case.arrays(dtype)
        expected = self.expected(
            case.op, [a.astype(np.float64) if a.dtype == np.float32 else a for a in arrays]
        )
        for i, (found, wanted) in enumerate(zip(case.forward(np, arrays), expected or ())):
            assert_close(f"result {i}", found, wanted, self.tolerances[dtype].outputs)

    def test_infer(self, name: str, dtype: str) -> None:
        checks.check_infer(self.case(name), dtype)

    def test_pure(self, name: str, dtype: str) -> None:
        checks.check_pure(self.case(name), dtype)

    def test_gradients(self, name: str) -> None:
        checks.check_gradients(self.case(name))

    def test_wanted(self, name: str) -> None:
        checks.check_wanted(self.case(name))

    def test_strict_namespace(self, name: str, dtype: str) -> None:
        pytest.importorskip("array_api_strict")
        checks.check_strict(self.case(name), dtype)

    def test_kernels(self, name: str, backend: str, dtype: str) -> None:
        case, opened = self.case(name), open_any(backend)
        try:
            for plugin, kernel in kernels(case, opened, dtype):
                try:
                    check_kernel(case, opened, kernel, dtype, self.tolerances)
                except AssertionError as error:
                    raise AssertionError(f"{kernel.label} of plugin '{plugin}': {error}") from error
        finally:
            opened.close()
