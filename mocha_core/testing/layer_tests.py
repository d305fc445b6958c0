"""`LayerTests`: the test class for layers. Needs pytest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from mocha_core.layer import Layer
from mocha_core.plan import Phase
from mocha_core.testing import layer_checks as checks
from mocha_core.testing.conformance import Conformance
from mocha_core.testing.inputs import filled
from mocha_core.testing.layer_checks import LayerCase
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
        phase: the phase that `expected` describes.
        seed: of the system.
    """

    layer: ClassVar[Layer | None] = None
    bottoms: ClassVar[Sequence[Any]] = ()
    cases: ClassVar[Mapping[str, tuple[Layer, Sequence[Any]]]] = {}
    differentiable: ClassVar[Sequence[str] | None] = None
    phase: ClassVar[Phase] = Phase.TRAIN
    seed: ClassVar[int] = 1

    def expected(
        self, layer: Any, bottoms: Sequence[NDArray[Any]], parameters: Mapping[str, NDArray[Any]]
    ) -> Any:
        """What the layer should compute, by an independent implementation; None: not checked.

        Returns:
            A list with an array for each top; or, for a layer without tops, its part of the objective.
        """
        return None

    @classmethod
    def parameters(cls) -> Mapping[str, Sequence[Any]]:
        return {"name": [*cls.cases, *([] if cls.layer is None else ["layer"])], **super().parameters()}

    def case(self, name: str, backend: str = "reference", dtype: str = "float64") -> LayerCase:
        """The case of that name; "layer" for that of `layer` and `bottoms`."""
        layer, bottoms = self.cases.get(name, (self.layer, self.bottoms))
        assert layer is not None
        arrays = [filled(bottom, self.seed + i) for i, bottom in enumerate(bottoms)]
        return LayerCase(layer, arrays, backend, dtype, self.seed, self.differentiable, self.tolerances)

    def test_expected(self, name: str, backend: str, dtype: str) -> None:
        case = self.case(name, backend, dtype)
        with case.trial() as trial:
            parameters = {n: p.numpy().astype(np.float64) for n, p in trial.parameters.items()}
            bottoms = [trial.net.blobs[n] for n in trial.sources]
            outcome = trial.run(self.phase)
            arrays = [np.asarray(b.numpy(), a.dtype) for b, a in zip(bottoms, case.bottoms, strict=True)]
        expected = self.expected(case.layer, arrays, parameters)
        if expected is None:
            return
        tolerance = self.tolerances[dtype].outputs
        if not case.layer.tops:
            assert_close("objective", outcome.objective, expected, tolerance)
        for top, array in zip(case.layer.tops, expected if case.layer.tops else (), strict=True):
            assert_close(f"top '{top}'", outcome.tops[top], array, tolerance)

    def test_shapes(self, name: str) -> None:
        checks.check_shapes(self.case(name))

    def test_deterministic(self, name: str, backend: str, dtype: str) -> None:
        checks.check_deterministic(self.case(name, backend, dtype))

    def test_gradients(self, name: str, backend: str) -> None:
        checks.check_gradients(self.case(name, backend))

    def test_reference(self, name: str, any_backend: str, dtype: str) -> None:
        checks.check_reference(self.case(name, any_backend, dtype))

    def test_precision(self, name: str, backend: str) -> None:
        checks.check_precision(self.case(name, backend))

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
