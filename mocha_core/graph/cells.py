"""`Cell`: the scalars on the device that every program may have, by name."""

from enum import StrEnum


class Cell(StrEnum):
    """Cells that the core fills or reads. A plain string of equal value serves as well.

    A solver has more cells, which its schedule fills, such as "learning_rate".
    """

    STATUS = "status"
    """0, or the number of the first fault that a kernel reported; int32."""
    ITERATION = "iteration"
    """The number of the iteration, counted from 0; int64."""
    FIRST_ROW = "first_row"
    """The number of the minibatch's first row, counted over the accumulated minibatches of an iteration; int64."""
    VALID_ROWS = "valid_rows"
    """How many rows of the minibatch count, from the first on; int32."""
    OBJECTIVE_GRADIENT = "objective_gradient"
    """The gradient that backward starts from: 1 / accumulated minibatches; in the net's dtype."""


#: The dtypes of these cells; all other cells have the net's dtype.
DTYPES: dict[str, str] = {
    Cell.STATUS: "int32",
    Cell.ITERATION: "int64",
    Cell.FIRST_ROW: "int64",
    Cell.VALID_ROWS: "int32",
}
