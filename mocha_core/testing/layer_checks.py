"""What every layer has to do, one function each, and `check_layer`, which calls them all.

Each function takes a `LayerCase` and raises `AssertionError` with words.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mocha_core.backend import Backend
from mocha_core.layer import Layer, TrainableLayer
from mocha_core.plan import Phase
from mocha_core.testing.inputs import filled
from mocha_core.testing.tolerances import NUMERIC_GRADIENT, TOLERANCES, Tolerance, assert_close
from mocha_core.testing.trial import Outcome, Trial

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class LayerCase:
    """A layer, its inputs, and where it runs."""

    layer: Layer
    bottoms: Sequence[NDArray[Any]]
    backend: str | Backend | None = "reference"
    dtype: str = "float64"
    seed: int = 0
    differentiable: Sequence[str] | None = None
    """The bottoms that must get a gradient; None: all that hold floats, if there is an objective."""
    tolerances: Mapping[str, Tolerance] = dataclasses.field(default_factory=lambda: TOLERANCES)

    def trial(self, **changes: Any) -> Trial:
        """The net around the layer; keywords are those of `Trial`."""
        setting = {"backend": self.backend, "dtype": self.dtype, "seed": self.seed}
        return Trial(self.layer, changes.pop("bottoms", self.bottoms), **(setting | changes))

    def outcome(self, phase: Phase = Phase.TRAIN, valid_rows: int | None = None, **changes: Any) -> Outcome:
        """What one run of such a net computes."""
        with self.trial(**changes) as trial:
            return trial.run(phase, valid_rows)

    def compare(self, what: str, actual: Outcome, expected: Outcome, dtype: str = "") -> None:
        """Raise unless two runs computed the same, as close as the dtype allows."""
        tolerance = self.tolerances[dtype or self.dtype]
        assert_close(f"objective {what}", actual.objective, expected.objective, tolerance.outputs)
        for top in self.layer.tops:
            assert_close(f"top '{top}' {what}", actual.tops[top], expected.tops[top], tolerance.outputs)
        for name, gradient in expected.gradients.items():
            assert_close(
                f"gradient of '{name}' {what}", actual.gradients[name], gradient, tolerance.gradients
            )
        for name, mean in expected.statistics.items():
            assert_close(f"statistic '{name}' {what}", actual.statistics[name], mean, tolerance.outputs)


def check_shapes(case: LayerCase) -> None:
    """The references compute the shapes and dtypes that `infer` announces, in both phases and dtypes."""
    for dtype in TOLERANCES:
        with case.trial(backend="reference", dtype=dtype) as trial:
            trial.run(Phase.TRAIN)
            trial.run(Phase.TEST)


def check_deterministic(case: LayerCase) -> None:
    """The same run twice computes the same bits."""
    with case.trial() as trial:
        first, second = trial.run(), trial.run()
    exact = dict.fromkeys(TOLERANCES, Tolerance(0.0, 0.0))
    dataclasses.replace(case, tolerances=exact).compare("in a second run", second, first)


def check_gradients(case: LayerCase) -> None:
    """The gradient of every bottom and parameter agrees with central differences, in float64."""
    with case.trial(dtype="float64") as trial:
        computed = trial.run().gradients
        objective = trial.net.plan.objective is not None
        bottoms = case.differentiable if case.differentiable is not None else list(trial.inputs)
        wanted = [*bottoms, *(f"{case.layer.name}.{name}" for name in trial.parameters)] if objective else []
        for name in wanted:
            if name not in computed:
                raise AssertionError(
                    f"no gradient reaches '{name}'. Say which inputs its op differentiates, or which bottoms "
                    "have a gradient with differentiable=[...]."
                )
            expected = trial.differences(name)
            assert_close(f"gradient of '{name}'", computed[name], expected, NUMERIC_GRADIENT)


def check_reference(case: LayerCase) -> None:
    """The backend's kernels compute what the references do."""
    for phase in Phase:
        expected = case.outcome(phase, backend="reference")
        case.compare(f"in phase {phase}, against the references", case.outcome(phase), expected)


def check_precision(case: LayerCase) -> None:
    """float32 is close to float64."""
    case.compare("in float32", case.outcome(dtype="float32"), case.outcome(dtype="float64"), "float32")


def check_rows(case: LayerCase) -> None:
    """In the test phase, each row computed alone is what it is in the batch."""
    together = case.outcome(Phase.TEST, offsets=False).tops
    for row in range(len(case.bottoms[0])):
        bottoms = [array[row : row + 1] for array in case.bottoms]
        alone = case.outcome(Phase.TEST, bottoms=bottoms, offsets=False).tops
        for top, array in alone.items():
            expected = together[top][row : row + 1]
            assert_close(
                f"top '{top}' of row {row} alone", array, expected, case.tolerances[case.dtype].outputs
            )


def check_valid_rows(case: LayerCase) -> None:
    """Rows from `valid_rows` on change neither objective, statistics nor gradients, and get none."""
    valid = (len(case.bottoms[0]) + 1) // 2
    part = case.outcome(valid_rows=valid)
    whole = case.outcome(bottoms=[array[:valid] for array in case.bottoms])
    for name in set(case.layer.bottoms) & set(part.gradients):
        if np.any(part.gradients[name][valid:]):
            raise AssertionError(
                f"rows of '{name}' that do not count (valid_rows is {valid}) get a gradient."
            )
        part.gradients[name] = part.gradients[name][:valid]
    part.tops = {top: array[:valid] for top, array in part.tops.items()}
    case.compare(f"with {valid} valid rows, against a batch of as many", part, whole)


def check_frozen(case: LayerCase) -> None:
    """A frozen layer computes the same and passes the same gradients on, and learns nothing."""
    with case.trial() as trial:
        expected = trial.run()
        trial.net.freeze(case.layer.name)
        frozen = trial.run()
    learned = [name for name in expected.gradients if name not in trial.inputs]
    if unfrozen := set(learned) & set(frozen.gradients):
        raise AssertionError(f"gradients of frozen parameters are computed: {', '.join(sorted(unfrozen))}.")
    expected.gradients = {n: g for n, g in expected.gradients.items() if n in trial.inputs}
    case.compare("when frozen", frozen, expected)


def check_fan_out(case: LayerCase) -> None:
    """Gradients add up where a bottom is also read by another layer."""
    expected = case.outcome()
    with case.trial(read_again=True) as trial:
        twice = trial.run()
        for name in trial.inputs:
            gradient = expected.gradients.get(name, 0.0) + trial.weights(name)
            what = f"gradient of '{name}', read twice,"
            assert_close(what, twice.gradients[name], gradient, case.tolerances[case.dtype].gradients)


def check_sharing(case: LayerCase) -> None:
    """A copy of the layer that shares its parameters doubles all gradients."""
    if not isinstance(case.layer, TrainableLayer):
        return
    layer = dataclasses.replace(case.layer, param_key="shared")
    copy = dataclasses.replace(
        layer, name=f"{layer.name} (copy)", tops=tuple(f"{top} (copy)" for top in layer.tops)
    )
    expected, shared = case.outcome(), dataclasses.replace(case, layer=layer).outcome(copies=[copy])
    for name, gradient in expected.gradients.items():
        what = f"gradient of '{name}' with a copy by param_key"
        assert_close(what, shared.gradients[name], 2 * gradient, case.tolerances[case.dtype].gradients)


TESTING: tuple[Callable[[LayerCase], None], ...] = (check_shapes, check_rows)
TRAINING: tuple[Callable[[LayerCase], None], ...] = (
    check_deterministic,
    check_gradients,
    check_reference,
    check_precision,
    check_valid_rows,
    check_frozen,
    check_fan_out,
    check_sharing,
)


def check_layer(
    layer: Layer,
    *bottoms: Any,
    backend: str | Backend | None = "reference",
    phase: Phase | None = None,
    seed: int = 0,
    differentiable: Sequence[str] | None = None,
) -> None:
    """Run every check on a layer, such as `check_layer(MyLayer(bottoms=["x"], tops=["y"]), (4, 3))`.

    Args:
        layer: with its bottoms and tops named.
        bottoms: for each different bottom an array, or a shape, N first, to be filled with different numbers
            between -1 and 1. Whole numbers are labels. Floats should be away from kinks.
        backend: whose kernels to check; "reference" for none.
        phase: only the checks of that phase.
        seed: of everything random.
        differentiable: names of the bottoms that have a gradient; by default all that hold floats.

    Raises:
        AssertionError: the first check that fails, in words.
        MochaError: the layer cannot be built from these bottoms.
    """
    arrays = [filled(bottom, seed + i) for i, bottom in enumerate(bottoms)]
    case = LayerCase(layer, arrays, backend, seed=seed, differentiable=differentiable)
    checks = {None: TESTING + TRAINING, Phase.TEST: TESTING, Phase.TRAIN: TRAINING}[phase]
    for check in checks:
        try:
            check(case)
        except AssertionError as error:
            raise AssertionError(f"{layer} fails {check.__name__}: {error}") from error
