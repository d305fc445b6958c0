"""Values for cells that the host hands over before a program runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mocha_core.errors import ConfigurationError, DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mocha_core.compile.program import Program, Schedule


def checked_columns(program: Program, schedule: Schedule, count: int) -> dict[str, NDArray[Any]]:
    """The values of those cells that the program has, side by side and in the cells' dtypes.

    Args:
        program: whose cells they are.
        schedule: for each cell by name, its values.
        count: how many each has to have.

    Raises:
        ConfigurationError: there are fewer, or they are of another shape.
        DataError: a row number is not one of its source's.
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
                f"row {values.max()}. Mend its order(): expected numbers 0 to {rows - 1}."
            )
        columns[name] = values
    return columns
