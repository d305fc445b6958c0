"""`LayerTests`: the test class for layers. Needs pytest."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pytest

from mocha_core.describe.layer import Layer
from mocha_core.errors import ConfigurationError, MochaError
from mocha_core.graph.plan import Phase
from mocha_core.testing import layer_checks as checks
from mocha_core.testing.conformance import Conformance
from mocha_core.testing.inputs import filled
from mocha_core.testing.layer_case import LayerCase
from mocha_core.testing.layer_description import check_description
from mocha_core.testing.layer_errors import check_errors
from mocha_core.testing.tolerances import assert_close

if TYPE_CHECKING:
    from numpy.typing import NDArray


class LayerTests(Conformance):
    """The requirements on a layer. Subclass it as `Test...`, and set `layer` and `bottoms`, or `cases` for several:

        class TestScaleLayer(LayerTests):
            layer = ScaleLayer(factor=3.0, bottoms=["x"], tops=["y"])
            bottoms = [(4, 3)]
            wrong = {"factor": (lambda: ScaleLayer(factor="three", bottoms=["x"], tops=["y"]), [], "number")}

            def expected(self, layer, bottoms, parameters):
                return [layer.factor * bottoms[0]]

    The layer runs on every backend, in both phases, alone in a net and beside a copy or a second net that shares
    its parameters, frozen, with a second reader of its bottoms, row by row, and in full and partial batches of several
    sizes. Its gradients are compared with central differences. With wrong bottoms and tops it has to work or to raise
    a `MochaError`. Each test calls the check of the same name in `mocha_core.testing.layer_checks`.

    Attributes:
        layer: with its bottoms and tops named.
        bottoms: for each different bottom an array, or a shape to be filled with different numbers. Whole
            numbers are labels. Keep them small, since every element is moved for numeric gradients.
        cases: (layer, bottoms) by name, for a layer whose attributes change its results.
        wrong: (layer or function that makes one, bottoms, regular expression) by name. Making, building or running the
            layer must raise a `MochaError` that matches and names the layer.
        differentiable: names of the bottoms that have a gradient; None: all that hold floats.
        seed: the seed of the system.
        xfail: tests that are known to fail, and why. A layer whose rows depend on each other has
            `{"test_rows": "normalizes over the batch"}`.
    """

    layer: ClassVar[Layer | None] = None
    bottoms: ClassVar[Sequence[Any]] = ()
    cases: ClassVar[Mapping[str, tuple[Layer, Sequence[Any]]]] = {}
    wrong: ClassVar[Mapping[str, tuple[Layer | Callable[[], Layer], Sequence[Any], str]]] = {}
    differentiable: ClassVar[Sequence[str] | None] = None
    seed: ClassVar[int] = 1

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if cls.layer is not None:
            cls.cases = {**cls.cases, "layer": (cls.layer, cls.bottoms)}
        if not cls.cases and cls.__name__.startswith("Test"):
            raise ConfigurationError(f"{cls.__name__}: give it a layer and its bottoms, or cases of them.")

    def arguments(self) -> dict[str, list[Any]]:
        arguments = super().arguments()
        own = [name for name in arguments["backend"] if name != "reference"]
        return arguments | {"mistake": list(self.wrong), "phase": list(Phase), "backend_of_its_own": own}

    def expected(self, layer: Any, bottoms: Sequence[NDArray[Any]], parameters: Mapping[str, NDArray[Any]]) -> Any:
        """The right results of the layer, by an independent implementation, in both phases.

        For a layer that differs in the test phase, take a further argument `phase`. For one with states, take `states`:
        their contents before the run, by name.

        Returns:
            An array for each top; or a dict of the results to compare: tops by name, "(objective)", statistics,
            states after the run as "layer.mean", and gradients as "d x" or "d layer.weight" (which the test phase
            does not have); or None, which skips the test.
        """
        return None

    def case(self, name: str, backend: str = "reference", dtype: str = "float64") -> LayerCase:
        """The case of that name."""
        layer, bottoms = self.cases[name]
        arrays = [filled(bottom, self.seed + i) for i, bottom in enumerate(bottoms)]
        return LayerCase(layer, arrays, backend, dtype, self.seed, self.differentiable, self.tolerances)

    def test_expected(self, name: str, phase: Phase, backend: str, dtype: str) -> None:
        case = self.case(name, backend, dtype)
        with case.trial() as trial:
            parameters = {p.name: p.numpy().astype(np.float64) for p in trial.learned.values()}
            states = {s.name: s.numpy().astype(np.float64) for s in trial.states.values()}
            outcome = trial.run(phase)
        asked = inspect.signature(self.expected).parameters
        more = {key: given for key, given in {"phase": phase, "states": states}.items() if key in asked}
        expected = self.expected(case.layer, case.bottoms, parameters, **more)
        if expected is None:
            pytest.skip("the class does not define expected() for this case")
        named = expected if isinstance(expected, Mapping) else dict(zip(case.layer.tops, expected, strict=True))
        for what, array in named.items():
            if phase is Phase.TRAIN or not what.startswith("d "):
                assert_close(f"'{what}'", outcome[what], array, self.tolerances[dtype])

    def test_wrong(self, mistake: str) -> None:
        layer, bottoms, message = self.wrong[mistake]
        with pytest.raises(MochaError, match=message) as caught:
            self.build_and_run(layer, bottoms)
        if isinstance(layer, Layer):
            assert layer.name in str(caught.value), f"the error does not name {layer}: {caught.value}"

    def build_and_run(self, layer: Layer | Callable[[], Layer], bottoms: Sequence[Any]) -> None:
        """Make the layer, if a function is given, and run it."""
        made = layer if isinstance(layer, Layer) else layer()
        arrays = [filled(bottom, self.seed + i) for i, bottom in enumerate(bottoms)]
        LayerCase(made, arrays).outcome()

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

    def test_two_nets(self, name: str, backend: str) -> None:
        checks.check_two_nets(self.case(name, backend))

    def test_batch_sizes(self, name: str, backend_of_its_own: str, dtype: str) -> None:
        checks.check_batch_sizes(self.case(name, backend_of_its_own, dtype))

    def test_one_blob_twice(self, name: str, backend: str) -> None:
        checks.check_one_blob_twice(self.case(name, backend))

    def test_description(self, name: str) -> None:
        check_description(self.case(name))

    def test_errors(self, name: str) -> None:
        check_errors(self.case(name))
