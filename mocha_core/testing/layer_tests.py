"""`LayerTests`: the test class for layers. Needs pytest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pytest

from mocha_core.layer import Layer
from mocha_core.testing import layer_checks as checks
from mocha_core.testing.conformance import Conformance
from mocha_core.testing.inputs import filled
from mocha_core.testing.tolerances import assert_close

if TYPE_CHECKING:
    from numpy.typing import NDArray


class LayerTests(Conformance):
    """Subclass it as `Test...`, and set `layer` and `bottoms`, or `cases` for several of them.

    Attributes:
        layer: with its bottoms and tops named.
        bottoms: for each different bottom an array, or a shape to be filled with different numbers. Whole
            numbers are labels. Keep them small, since every element is moved for numeric gradients.
        cases: (layer, bottoms) by name, for a layer whose attributes change what it computes.
        differentiable: names of the bottoms that have a gradient; None: all that hold floats.
        seed: of the system.
    """

    layer: ClassVar[Layer | None] = None
    bottoms: ClassVar[Sequence[Any]] = ()
    cases: ClassVar[Mapping[str, tuple[Layer, Sequence[Any]]]] = {}
    differentiable: ClassVar[Sequence[str] | None] = None
    seed: ClassVar[int] = 1

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if cls.layer is not None:
            cls.cases = {"layer": (cls.layer, cls.bottoms), **cls.cases}

    def expected(self, layer: Any, bottoms: Sequence[NDArray[Any]], parameters: Mapping[str, NDArray[Any]]) -> Any:
        """What the layer should compute while training, by an independent implementation.

        Returns:
            An array for each top; or a dict of what to look at: tops by name, "(objective)", statistics, and
            gradients as "d x" or "d layer.weight"; or None, and nothing is tested.
        """
        return None

    def case(self, name: str, backend: str = "reference", dtype: str = "float64") -> checks.LayerCase:
        """The case of that name."""
        layer, bottoms = self.cases[name]
        arrays = [filled(bottom, self.seed + i) for i, bottom in enumerate(bottoms)]
        return checks.LayerCase(layer, arrays, backend, dtype, self.seed, self.differentiable, self.tolerances)

    def test_expected(self, name: str, backend: str, dtype: str) -> None:
        case = self.case(name, backend, dtype)
        with case.trial() as trial:
            parameters = {p.name: p.numpy().astype(np.float64) for p in trial.learned.values()}
            outcome = trial.run()
        expected = self.expected(case.layer, case.bottoms, parameters)
        if expected is None:
            pytest.skip("the class expects nothing of this case")
        named = expected if isinstance(expected, Mapping) else dict(zip(case.layer.tops, expected, strict=True))
        for name, array in named.items():
            assert_close(f"'{name}'", outcome[name], array, self.tolerances[dtype])

    def test_deterministic(self, name: str, backend: str, dtype: str) -> None:
        checks.check_deterministic(self.case(name, backend, dtype))

    def test_gradients(self, name: str, backend: str) -> None:
        checks.check_gradients(self.case(name, backend))

    def test_reference(self, name: str, any_backend: str, dtype: str) -> None:
        checks.check_reference(self.case(name, any_backend, dtype))

    def test_rows(self, name: str, backend: str, dtype: str) -> None:
        checks.check_rows(self.case(name, backend, dtype))

    def test_valid_rows(self, name: str, backend: str, dtype: str) -> None:
        checks.check_valid_rows(self.case(name, backend, dtype))

    def test_frozen(self, name: str, backend: str) -> None:
        checks.check_frozen(self.case(name, backend))

    def test_fan_out(self, name: str, backend: str, dtype: str) -> None:
        checks.check_fan_out(self.case(name, backend, dtype))

    def test_sharing(self, name: str, backend: str, dtype: str) -> None:
        checks.check_sharing(self.case(name, backend, dtype))
