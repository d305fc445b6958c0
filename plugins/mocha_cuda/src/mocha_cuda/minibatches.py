"""`Minibatches`: the first and last kernels of each minibatch, so that no minibatch waits for the host."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mocha_core.api import Cell
from mocha_cuda.compiled import Launch
from mocha_cuda.kernels.gather import Gathering
from mocha_cuda.tables import Table

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mocha_cuda.backend import CUDABackend


class Minibatches:
    """Writes the values of a schedule into cells, and collects the objectives.

    Args:
        cells: the cells of the program, by name.
        objective: the array with a minibatch's objective; None if there is none.
        capacity: the number of minibatches whose values are given at once.
        gathers: the first steps of a minibatch, which `begin` does.

    Attributes:
        begin, end: the steps before and after a minibatch.
        end_of_iteration: the step that replaces `end` for the last minibatch of an iteration, after the update.
    """

    def __init__(
        self,
        backend: CUDABackend,
        cells: Mapping[str, Any],
        objective: Any,
        capacity: int,
        gathers: Sequence[Gathering],
    ) -> None:
        self._backend = backend
        self._cells = cells
        self._capacity = capacity
        self._columns: dict[str, Any] = {}
        self._addresses = backend.empty((max(1, len(cells)), 3), "uint64")
        self._objectives = backend.empty((capacity,), "float64")
        backend.copy_from_numpy(self._objectives, np.zeros(capacity))  # they stay 0 in a net without losses
        #: The number of minibatches that ended since `give`, and of iterations.
        self._progress = backend.empty((2,), "int32")
        status = cells.get(Cell.STATUS)
        numbers = {backend.device.address(cell): i for i, cell in enumerate(cells.values())}
        parts, blocks = [], len(cells)
        for gather in gathers:
            parts.append((*gather.columns, numbers[backend.device.address(gather.rows)], blocks, gather.blocks))
            blocks += gather.blocks
        dtype = gathers[0].dtype if gathers else "float32"
        table = Table(backend, parts) if parts else None
        operands = self._addresses, len(cells), table, len(parts), status, self._progress
        self.begin = Launch(backend, "program", "begin_minibatch", dtype, blocks, operands)

        def end(iterations: int) -> Launch:
            dtype = "float32" if objective is None else str(objective.dtype)
            operands = objective, self._objectives, status, self._progress, iterations
            return Launch(backend, "program", "end_minibatch", dtype, 1, operands)

        self.end, self.end_of_iteration = end(0), end(1)

    def schedule(self, names: Collection[str]) -> None:
        """Name the cells that get values; the others keep theirs."""
        backend, address = self._backend, self._backend.device.address
        rows = np.zeros(self._addresses.shape, np.uint64)
        for row, (name, cell) in zip(rows, self._cells.items(), strict=False):
            values, ints = cell, 0
            if name in names:
                if name not in self._columns:
                    self._columns[name] = backend.empty((self._capacity, *cell.shape), str(cell.dtype))
                values, ints = self._columns[name], cell.nbytes // 4
            row[:] = address(cell), address(values), ints
        backend.copy_from_numpy(self._addresses, rows)

    def give(self, columns: Mapping[str, NDArray[Any]]) -> None:
        """Set the values for the next minibatches."""
        for name, values in columns.items():
            self._backend.copy_from_numpy(self._columns[name][: len(values)], values)
        self._backend.copy_from_numpy(self._progress, np.zeros(2, np.int32))

    def iterations(self) -> int:
        """The number of iterations since `give`."""
        return int(self._backend.to_numpy(self._progress)[1])

    def objectives(self, count: int) -> NDArray[Any]:
        """The objectives of the first minibatches since `give`."""
        return self._backend.to_numpy(self._objectives[:count])
