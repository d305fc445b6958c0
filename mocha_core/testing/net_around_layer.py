"""`Trial`: a net around one layer, whose inputs have gradients and can be moved."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from mocha_core.describe.layer import Layer
from mocha_core.describe.parameter import Parameter
from mocha_core.errors import ConfigurationError
from mocha_core.graph.cells import Cell
from mocha_core.graph.plan import Phase, Section
from mocha_core.net.net import Net
from mocha_core.net.system import System
from mocha_core.testing.backends import AnyBackend, open_system
from mocha_core.testing.gradients import numeric_gradient
from mocha_core.testing.inputs import distinct
from mocha_core.testing.surrounding_layers import InputLayer, OffsetLayer, ProjectionLayer

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: The results of a run: "(objective)"; tops and statistics by name; the gradient of a bottom as "d x", and of a
#: parameter as "d layer.weight"; the layer's states after the run as "layer.mean".
Outcome = dict[str, "NDArray[Any]"]

#: The size of random changes to initial parameters, so that zeros do not hide faults.
SPREAD = 0.3


class Trial:
    """A net of data, the layer, and a random projection of its tops as the objective besides its own losses.

    Args:
        layer: the layer under test.
        bottoms: one array for each different bottom; those of floats get gradients.
        backend: the backend of the system.
        dtype: the dtype of the system, "float32" or "float64".
        seed: the seed of the system.
        copies: more layers beside it, such as copies that share its parameters.
        read_again: whether a second projection reads each bottom that has a gradient.
        trains: whether there are gradients; if not, the bottoms are the data.
        system: the system of the net; None: a new one.

    Raises:
        ConfigurationError: the arrays are not the layer's bottoms.
    """

    def __init__(
        self,
        layer: Layer,
        bottoms: Sequence[NDArray[Any]],
        *,
        backend: AnyBackend = "reference",
        dtype: str = "float64",
        seed: int = 0,
        copies: Sequence[Layer] = (),
        read_again: bool = False,
        trains: bool = True,
        system: System | None = None,
    ) -> None:
        names = list(dict.fromkeys(layer.bottoms))
        check_bottoms(layer, names, bottoms)
        self.layer = layer
        given = zip(names, bottoms, strict=True)
        moved = [name for name, array in given if trains and array.dtype.kind == "f"]
        data = {name: f"{name} (data)" if name in moved else name for name in names}
        read = [pair for one in (layer, *copies) if trains for pair in enumerate(one.tops)]
        read += enumerate(moved, len(layer.tops)) if read_again else []
        layers = [
            InputLayer(name="(data)", tops=(*data.values(),), arrays=bottoms, batch_size=len(bottoms[0])),
            *(OffsetLayer(name=f"offset of {name}", bottoms=(data[name],), tops=(name,)) for name in moved),
            *(layer, *copies),
            *(ProjectionLayer(name=f"projection of {b}", bottoms=(b,), seed=seed + i) for i, b in read),
        ]
        self.owns_system = system is None
        self.system = open_system(backend, dtype=dtype, seed=seed) if system is None else system
        self.net = Net(f"test of {layer.name}", self.system, layers)
        self.inputs = {f"d {name}": self.net.parameters[f"offset of {name}"]["offset"] for name in moved}
        self.learned = {f"d {layer.name}.{n}": p for n, p in self.net.parameters.get(layer.name, {}).items()}
        kept = [state for state in self.net.states.values() if not isinstance(state, Parameter)]
        self.states = {f"{layer.name}.{state.name}": state for state in kept if state.layer == layer.name}
        moving = {one.name for one in (layer, *copies)}
        self._moved = [state for state in kept if state.layer in moving]
        for i, parameter in enumerate(self.learned.values()):
            parameter.set(parameter.numpy() + SPREAD * distinct(parameter.value.shape, seed + i))

    def run(self, phase: Phase = Phase.TRAIN, valid_rows: int | None = None) -> Outcome:
        """Forward, and in the training phase backward; only the first `valid_rows` rows count.

        The layer's states are restored, so that another run computes the same.
        """
        with self.states_restored():
            return self._run(phase, valid_rows)

    def _run(self, phase: Phase, valid_rows: int | None) -> Outcome:
        net = self.net
        net.feeds.first.seek(0)  # for the same random numbers in every run
        with self.states_restored():
            net.forward(phase)
        program = net.program()
        net.reset_statistics()
        program.start_anew()
        for feed in net.feeds.values():
            feed.begin(wrap=True)
        rows = program.plan.batch if valid_rows is None else valid_rows
        program.run(Section.FORWARD, {Cell.VALID_ROWS: np.asarray([rows])})
        net.runs.raise_fault(program)
        outcome = {name: np.asarray(mean) for name, mean in net.statistics().items()}
        outcome |= {top: net.blobs[top].numpy() for top in self.layer.tops}
        outcome |= {name: state.numpy() for name, state in self.states.items()}
        if program.plan.objective is not None:
            outcome["(objective)"] = program.objectives[0]
            if phase is Phase.TRAIN:
                net.backward()
                reached = [(n, p) for n, p in self.all.items() if p.value in program.plan.gradients]
                outcome |= {name: net.gradient(p.layer, p.name) for name, p in reached}
        return outcome

    @contextmanager
    def states_restored(self) -> Iterator[None]:
        """At the end of the `with`, restore the states of the layer and its copies."""
        before = [state.numpy() for state in self._moved]
        try:
            yield
        finally:
            for state, array in zip(self._moved, before, strict=True):
                state.set(array)

    @property
    def all(self) -> dict[str, Any]:
        """The offsets of the bottoms, and the parameters of the layer, by the names of their gradients."""
        return self.inputs | self.learned

    def weights(self, blob: str) -> NDArray[Any]:
        """The weights of the projection of a blob."""
        return self.net.states[f"projection of {blob}___weights"].numpy()

    def differences(self, name: str) -> NDArray[np.float64]:
        """The gradient of that name by central differences."""
        parameter = self.all[name]
        centre = parameter.numpy()

        def objective(array: NDArray[Any]) -> float:
            parameter.set(array)
            self.net.feeds.first.seek(0)
            with self.states_restored():
                return self.net.forward()

        gradient = numeric_gradient(objective, centre)
        parameter.set(centre)
        return gradient

    def __enter__(self) -> Trial:
        return self

    def __exit__(self, *_: object) -> None:
        self.net.destroy()
        if self.owns_system:
            self.system.close()


def check_bottoms(layer: Layer, names: list[str], bottoms: Sequence[NDArray[Any]]) -> None:
    """Raise `ConfigurationError` unless the arrays can be the layer's bottoms."""
    shapes = [array.shape for array in bottoms]
    if not names or len(names) != len(shapes) or len({shape[:1] for shape in shapes}) != 1 or () in shapes:
        raise ConfigurationError(
            f"{layer}: expected arrays or shapes with one number of rows for the bottoms {names}, received {shapes}."
        )
    if set(names) & set(layer.tops):
        raise ConfigurationError(f"{layer}: give its tops other names than its bottoms, so that both can be looked at.")
