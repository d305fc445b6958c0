"""One check for each requirement on layers, and `check_layer`, which calls them all.

Each check takes a `LayerCase` and raises an `AssertionError` that describes the fault.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from mocha_core.describe.layer import Layer, TrainableLayer
from mocha_core.graph.plan import Phase
from mocha_core.testing.backends import AnyBackend
from mocha_core.testing.inputs import filled
from mocha_core.testing.layer_case import LayerCase
from mocha_core.testing.layer_description import check_description
from mocha_core.testing.layer_errors import check_errors
from mocha_core.testing.tolerances import NUMERIC_GRADIENT, TOLERANCES, assert_close


def check_deterministic(case: LayerCase) -> None:
    """The same run twice computes the same bits."""
    with case.trial() as trial:
        first, second = trial.run(), trial.run()
    replace(case, tolerances={case.dtype: 0.0}).compare("in a second run", second, first)


def check_gradients(case: LayerCase) -> None:
    """The gradient of every bottom and parameter agrees with central differences, in float64."""
    with case.trial(dtype="float64") as trial:
        computed = trial.run()
        bottoms = list(trial.inputs) if case.differentiable is None else [f"d {n}" for n in case.differentiable]
        for name in [*bottoms, *trial.learned] if "(objective)" in computed else []:
            if name not in computed:
                raise AssertionError(
                    f"no gradient reaches '{name[2:]}'. Say which inputs the op differentiates, or which "
                    "bottoms have a gradient with differentiable=[...]."
                )
            assert_close(f"'{name}'", computed[name], trial.differences(name), NUMERIC_GRADIENT)


def check_reference(case: LayerCase) -> None:
    """The backend gives in its dtype the results of the references in float64, with the inferred shapes."""
    for phase in Phase:
        expected = case.outcome(phase, backend="reference", dtype="float64")
        case.compare(f"in phase {phase}, against the reference,", case.outcome(phase), expected)


def check_rows(case: LayerCase) -> None:
    """In the test phase, each row computed alone has the same result as in the batch."""
    together, per_sample = case.outcome(Phase.TEST, trains=False), case.rows_per_sample()
    for row in range(len(case.bottoms[0])):
        bottoms = [array[row : row + 1] for array in case.bottoms]
        alone = case.outcome(Phase.TEST, bottoms=bottoms, trains=False)
        expected = {top: together[top][row * k : (row + 1) * k] for top, k in per_sample.items()}
        case.compare(f"of row {row} alone", alone, expected)


def check_valid_rows(case: LayerCase) -> None:
    """Rows from `valid_rows` on do not change objective, statistics, states or gradients, and get no gradient."""
    valid = (len(case.bottoms[0]) + 1) // 2
    with case.trial() as trial:
        part = trial.run(valid_rows=valid)
        rows = [name for name, state in trial.states.items() if state.per_row]
    for name in set(part) & {f"d {bottom}" for bottom in case.layer.bottoms}:
        if np.any(part[name][valid:]):
            raise AssertionError(f"'{name}' is not zero in rows that do not count; valid_rows is {valid}.")
        part[name] = part[name][:valid]
    part |= {top: part[top][: valid * k] for top, k in case.rows_per_sample().items()}
    part |= {name: part[name][:valid] for name in rows}
    whole = case.outcome(bottoms=[array[:valid] for array in case.bottoms])
    case.compare(f"with {valid} valid rows, against a batch of as many,", part, whole)


def check_frozen(case: LayerCase) -> None:
    """A frozen layer computes the same and passes on the same gradients, but learns nothing."""
    with case.trial() as trial:
        expected = trial.run()
        trial.net.freeze(case.layer.name)
        frozen = trial.run()
    if learned := set(trial.learned) & set(frozen):
        raise AssertionError(f"{', '.join(sorted(learned))} is computed, but the layer is frozen.")
    expected = {name: array for name, array in expected.items() if name not in trial.learned}
    case.compare("when frozen", frozen, expected)


def check_fan_out(case: LayerCase) -> None:
    """Gradients add up if another layer reads the bottom, too."""
    once = case.outcome()
    with case.trial(read_again=True) as trial:
        twice = trial.run()
        expected = {name: once.get(name, 0.0) + trial.weights(name[2:]) for name in trial.inputs}
    case.compare("with a second reader", twice, expected)


def check_sharing(case: LayerCase) -> None:
    """A copy of the layer that shares its parameters doubles all gradients."""
    if isinstance(case.layer, TrainableLayer):
        layer = replace(case.layer, param_key="shared")
        copy = replace(layer, name=f"{layer.name} (copy)", tops=tuple(f"{top} (copy)" for top in layer.tops))
        shared = replace(case, layer=layer).outcome(copies=[copy])
        doubled = {name: 2 * array for name, array in case.outcome().items() if name.startswith("d ")}
        case.compare("with a copy by param_key", shared, doubled)


def check_two_nets(case: LayerCase) -> None:
    """Two nets of one system that hold the layer share its parameters, and nothing else."""
    with case.trial() as one, case.trial(system=one.system) as two:
        if list(one.learned.values()) != list(two.learned.values()):
            raise AssertionError("two nets that hold the layer do not share its parameters.")
        for parameter in one.learned.values():
            parameter.set(parameter.numpy() * 0.75)
        first, second, again = one.run(), two.run(), one.run()
    exactly = replace(case, tolerances={case.dtype: 0.0})
    exactly.compare("in a second net that shares the layer", second, first)
    exactly.compare("after a second net that shares the layer has run", again, first)


def check_batch_sizes(case: LayerCase) -> None:
    """The backend gives the references' results for every number of rows: its own padding never shows."""
    for rows in BATCH_SIZES:
        bottoms = [array[np.arange(rows) % len(array)] for array in case.bottoms]
        for phase in Phase:
            expected = case.outcome(phase, backend="reference", bottoms=bottoms)
            found = case.outcome(phase, bottoms=bottoms)
            case.compare(f"in a batch of {rows} in phase {phase}, against the reference,", found, expected)


def check_one_blob_twice(case: LayerCase) -> None:
    """If one blob is two bottoms of a layer, its gradients add up."""
    names = list(dict.fromkeys(case.layer.bottoms))
    shapes = [(array.shape, array.dtype.kind) for array in case.bottoms]
    if len(names) < 2 or len(names) != len(case.layer.bottoms) or shapes[0] != shapes[1] or shapes[0][1] != "f":
        return
    first, second, x = f"d {names[0]}", f"d {names[1]}", case.bottoms[0]
    apart = case.outcome(bottoms=[x, x, *case.bottoms[2:]])
    layer = replace(case.layer, bottoms=(names[0], names[0], *names[2:]))
    twice = replace(case, layer=layer).outcome(bottoms=[x, *case.bottoms[2:]])
    if second in apart:
        apart[first] = apart.get(first, 0.0) + apart.pop(second)
    case.compare("of one blob as two bottoms", twice, apart)


#: The numbers of rows in a batch: one, a few, and more than a vector register holds.
BATCH_SIZES = (1, 2, 7, 17)

TESTING = (check_reference, check_rows)
TRAINING = (
    check_reference, check_deterministic, check_gradients, check_valid_rows, check_frozen, check_fan_out,
    check_sharing, check_two_nets, check_batch_sizes, check_one_blob_twice, check_description, check_errors,
)  # fmt: skip


def check_layer(
    layer: Layer,
    *bottoms: Any,
    backend: AnyBackend = "reference",
    phase: Phase | None = None,
    seed: int = 0,
    differentiable: Sequence[str] | None = None,
    say: Callable[[str], object] | None = None,
) -> None:
    """Run every check on a layer, such as `check_layer(MyLayer(bottoms=["x"], tops=["y"]), (4, 3))`.

    Args:
        layer: with its bottoms and tops named.
        bottoms: for each different bottom an array, or a shape, N first, to be filled with different numbers
            between -1 and 1. Whole numbers are labels. Floats should be away from kinks.
        backend: the backend with the kernels to check; "reference" for none.
        phase: run only the checks of this phase.
        seed: the seed of all random numbers.
        differentiable: names of the bottoms that have a gradient; by default all that hold floats.
        say: a function that gets one sentence for each check done, such as `print`.

    Raises:
        AssertionError: a check fails; the error describes the fault.
        MochaError: the layer cannot be built from these bottoms.
    """
    arrays = [filled(bottom, seed + i) for i, bottom in enumerate(bottoms)]
    case = LayerCase(layer, arrays, backend, seed=seed, differentiable=differentiable)
    checks = {None: {*TESTING, *TRAINING}, Phase.TEST: TESTING, Phase.TRAIN: TRAINING}[phase]
    for check in sorted(checks, key=[*TESTING, *TRAINING].index):
        for dtype in TOLERANCES:
            try:
                check(replace(case, dtype=dtype))
            except AssertionError as error:
                raise AssertionError(f"{layer} fails {check.__name__} in {dtype}: {error}") from error
        if say is not None:
            say(str(check.__doc__))
