"""The rows that `net.predict` is given: checked, and cut into minibatches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from mocha_core import checks
from mocha_core.errors import ShapeError
from mocha_core.graph.value import Value

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Rows:
    """An array of rows, or a dict of them by blob name. `count` is how many rows there are."""

    def __init__(self, owner: str, data: Any) -> None:
        self.owner = owner
        self.named = isinstance(data, Mapping)
        self.arrays = {k: checks.numbers(owner, v) for k, v in (data.items() if self.named else [("", data)])}
        self.count = next((len(array) for array in self.arrays.values() if array.ndim), 0)

    def check(self, inputs: Mapping[str, Value]) -> None:
        """Match the arrays with a program's inputs.

        Raises:
            ShapeError: names, rows or their shapes do not fit; says what is expected.
        """
        if not self.named and len(inputs) == 1:
            self.arrays = {next(iter(inputs)): self.arrays[""]}
        if self.arrays.keys() != inputs.keys():
            given = ", ".join(self.arrays) if self.named else "one array"
            raise ShapeError(f"{self.owner}: expected a dict of arrays for {', '.join(inputs)}, received {given}.")
        for name, array in self.arrays.items():
            row = inputs[name].shape[1:]
            if array.ndim == 0 or array.shape[1:] != row or len(array) != self.count:
                count = "any" if len(self.arrays) == 1 else str(self.count)
                raise ShapeError(
                    f"{self.owner}, blob '{name}': expected an array of shape ({', '.join([count, *map(str, row)])}), "
                    f"received {array.shape}."
                )

    def batch(self, start: int, size: int) -> dict[str, NDArray[Any]]:
        """A minibatch by blob name, not copied where it is complete; behind the last row, that row is repeated."""
        whole = start + size <= self.count
        chosen = slice(start, start + size) if whole else np.minimum(np.arange(start, start + size), self.count - 1)
        return {name: array[chosen] for name, array in self.arrays.items()}
