"""Checks of the values of cells that the host gives to a program before it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mocha_core.errors import ConfigurationError, DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mocha_core.compile.program import Program, Schedule


def checked_columns(program: Program, schedule: Schedule, count: int) -> dict[str, NDArray[Any]]:
    """The values of the program's cells, contiguous and in the cells' dtypes.

    Args:
        program: the program with the cells.
        schedule: the values of each cell, by name; cells that the program lacks are left out.
        count: the number of values per cell.

    Raises:
        ConfigurationError: a cell has fewer values, or values of another shape.
        DataError: a source has no row of that number.
    """
    plan = program.plan
    columns = {}
    for name, column in plan.with_row_cells(schedule).items():
        if name not in program.cells:
            continue
        cell = plan.cells[name]
        values = np.ascontiguousarray(np.asarray(column)[:count], cell.dtype)
        if values.shape != (count, *cell.shape):
            raise ConfigurationError(
                f"{plan.title}: expected {count} values of shape {cell.shape} for the cell '{name}', received an "
                f"array of shape {np.shape(column)}."
            )
        rows = program.tables.get(cell)
        if rows is not None and values.size and not (values.min() >= 0 and values.max() < rows):
            raise DataError(
                f"{plan.title}: the order of a source with {rows} rows, '{name}', goes from row {values.min()} to "
                f"row {values.max()}. Fix its order(): expected numbers 0 to {rows - 1}."
            )
        columns[name] = values
    return columns
