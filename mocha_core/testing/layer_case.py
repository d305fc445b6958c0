"""`LayerCase`: one use of a layer, for the layer checks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mocha_core.describe.layer import Layer
from mocha_core.graph.plan import Phase
from mocha_core.testing.backends import AnyBackend
from mocha_core.testing.net_around_layer import Outcome, Trial
from mocha_core.testing.tolerances import TOLERANCES, assert_close

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class LayerCase:
    """A layer, its inputs, and the backend that it runs on."""

    layer: Layer
    bottoms: Sequence[NDArray[Any]]
    backend: AnyBackend = "reference"
    dtype: str = "float64"
    seed: int = 0
    differentiable: Sequence[str] | None = None
    """The bottoms that must get a gradient; None: all that hold floats, if there is an objective."""
    tolerances: Mapping[str, float] | None = None

    def trial(self, **changes: Any) -> Trial:
        """The net around the layer; keywords are those of `Trial`."""
        setting = {"backend": self.backend, "dtype": self.dtype, "seed": self.seed}
        return Trial(self.layer, changes.pop("bottoms", self.bottoms), **(setting | changes))

    def outcome(self, phase: Phase = Phase.TRAIN, valid_rows: int | None = None, **changes: Any) -> Outcome:
        """The results of one run of such a net."""
        with self.trial(**changes) as trial:
            return trial.run(phase, valid_rows)

    def rows_per_sample(self) -> dict[str, int]:
        """The number of rows per sample, for each top; 1 if its samples lie mixed."""
        with self.trial() as trial:
            return {top: trial.net.plan.blobs[top].rows or 1 for top in self.layer.tops}

    def compare(self, what: str, actual: Outcome, expected: Outcome) -> None:
        """Raise unless a run has all results of another one, up to the tolerance of the dtype."""
        for name, array in expected.items():
            assert_close(f"'{name}' {what}", actual[name], array, (self.tolerances or TOLERANCES)[self.dtype])
