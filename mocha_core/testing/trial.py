"""`Trial`: a net around one layer, whose inputs have gradients and can be moved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mocha_core.backend import Backend
from mocha_core.errors import ConfigurationError
from mocha_core.layer import Layer
from mocha_core.net import Net
from mocha_core.plan import Phase, Section
from mocha_core.system import System
from mocha_core.testing.backends import open_any
from mocha_core.testing.gradients import numeric_gradient
from mocha_core.testing.inputs import distinct
from mocha_core.testing.probe import InputLayer, OffsetLayer, ProjectionLayer

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mocha_core.program import Program

#: How far parameters are moved from what their initializers gave, so that zeros hide nothing.
SPREAD = 0.3


@dataclass
class Outcome:
    """What one run of a net forward, and back where it trains, has computed."""

    objective: float
    tops: dict[str, NDArray[Any]]
    statistics: dict[str, float]
    gradients: dict[str, NDArray[Any]]
    """By name: of a bottom its own, of a parameter `layer.parameter`."""


class Trial:
    """A net of data, the layer, and a random projection of its tops as the objective besides its own losses.

    Args:
        layer: the layer under test.
        bottoms: one array for each different bottom; gradients are taken of those that hold floats.
        backend, dtype, seed: of the system.
        copies: more layers beside it, such as copies that share its parameters.
        read_again: each bottom is also read by a projection of its own.
        offsets: without, the bottoms come straight from the data, and nothing trains.
    """

    def __init__(
        self,
        layer: Layer,
        bottoms: Sequence[NDArray[Any]],
        *,
        backend: str | Backend | None = "reference",
        dtype: str = "float64",
        seed: int = 0,
        copies: Sequence[Layer] = (),
        read_again: bool = False,
        offsets: bool = True,
    ) -> None:
        names = list(dict.fromkeys(layer.bottoms))
        check_bottoms(layer, names, bottoms)
        self.layer = layer
        self.batch = len(bottoms[0])
        floating = [n for n, array in zip(names, bottoms, strict=True) if array.dtype.kind == "f"]
        shifted = floating if offsets else []
        self.sources = {name: f"{name} (data)" if name in shifted else name for name in names}
        layers: list[Layer] = [
            InputLayer(
                name="(data)",
                tops=tuple(self.sources.values()),
                arrays=tuple(bottoms),
                batch_size=self.batch,
            ),
            *(OffsetLayer(name=f"offset of {n}", bottoms=(self.sources[n],), tops=(n,)) for n in shifted),
            layer,
            *copies,
        ]
        read = [pair for one in (layer, *copies) for pair in enumerate(one.tops, 1)] if offsets else []
        read += enumerate(floating, 1 + len(layer.tops)) if read_again else []
        layers += [
            ProjectionLayer(name=f"projection of {blob}", bottoms=(blob,), seed=seed + i) for i, blob in read
        ]
        self.system = System(open_any(backend), dtype=dtype, seed=seed)
        self.net = Net(f"test of {layer.name}", self.system, layers)
        self.inputs = {name: self.net.parameters[f"offset of {name}"]["offset"] for name in shifted}
        self.parameters = self.net.parameters.get(layer.name, {})
        for i, parameter in enumerate(self.parameters.values()):
            parameter.set(parameter.numpy() + SPREAD * distinct(parameter.value.shape, seed + i))

    def run(self, phase: Phase = Phase.TRAIN, valid_rows: int | None = None) -> Outcome:
        """Forward, and in the training phase backward; only the first `valid_rows` rows count."""
        net = self.net
        objective = net.forward(phase)
        if valid_rows is not None or net.statistics():
            net.reset_statistics()
            objective = self._again(net.program(), self.batch if valid_rows is None else valid_rows)
        gradients = {}
        if phase is Phase.TRAIN and net.program().plan.objective is not None:
            net.backward()
            learned = {f"{self.layer.name}.{name}": p for name, p in self.parameters.items()}
            reached = net.program().plan.gradients
            gradients = {
                name: net.gradient(p.layer, p.name)
                for name, p in (self.inputs | learned).items()
                if p.value in reached
            }
        tops = {top: net.blobs[top].numpy() for top in self.layer.tops}
        return Outcome(objective, tops, net.statistics(), gradients)

    def _again(self, program: Program, valid_rows: int) -> float:
        for feed in self.net.feeds.values():
            feed.begin(wrap=True)
        program.run(Section.FORWARD, {"valid_rows": np.asarray([valid_rows])})
        self.net.raise_fault(program)
        return float(program.objectives[0]) if len(program.objectives) else 0.0

    def weights(self, blob: str) -> NDArray[Any]:
        """What the projection of a blob multiplies it with."""
        return self.net.states[f"projection of {blob}___weights"].numpy()

    def differences(self, name: str) -> NDArray[np.float64]:
        """The gradient of a bottom or parameter, named as in `Outcome.gradients`, by central differences."""
        parameter = self.inputs.get(name) or self.parameters[name.removeprefix(f"{self.layer.name}.")]
        centre = parameter.numpy()

        def objective(array: NDArray[Any]) -> float:
            parameter.set(array)
            return self.net.forward()

        gradient = numeric_gradient(objective, centre)
        parameter.set(centre)
        return gradient

    def close(self) -> None:
        """Release the net and its system."""
        self.net.destroy()
        self.system.close()

    def __enter__(self) -> Trial:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def check_bottoms(layer: Layer, names: list[str], bottoms: Sequence[NDArray[Any]]) -> None:
    """Raise `ConfigurationError` unless the arrays can be the layer's bottoms."""
    if not names or len(names) != len(bottoms):
        raise ConfigurationError(
            f"{layer}: expected an array or shape for each of the bottoms {names}, received {len(bottoms)}."
        )
    if set(names) & set(layer.tops):
        raise ConfigurationError(
            f"{layer}: give its tops other names than its bottoms, so that both can be looked at."
        )
    rows = {len(array) if array.ndim else 0 for array in bottoms}
    if len(rows) > 1 or 0 in rows:
        raise ConfigurationError(
            f"{layer}: expected bottoms with one number of rows, at least 1; received {[a.shape for a in bottoms]}."
        )
