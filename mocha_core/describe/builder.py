"""Builders: a layer's `build` records ops and parameters through them, and a solver records its updates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from mocha_core import checks
from mocha_core.describe.layer import Layer
from mocha_core.describe.parameter import Constraint, Initializer, Parameter, Regularizer, State
from mocha_core.errors import ConfigurationError, ShapeError, TopologyError
from mocha_core.graph import array_api, cells
from mocha_core.graph.cells import Cell
from mocha_core.graph.plan import Phase, Plan, RowCell, Section, Statistic
from mocha_core.graph.random import stream_id
from mocha_core.graph.value import Role, Spec, Value

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable

    from mocha_core.graph.op import Op


class Records(Protocol):
    """The interface of a net's `Recorder` that builders use."""

    name: str
    dtype: str
    seed: int

    def warn(self, message: str) -> None:
        """Log a warning about the net, unless it was logged before."""

    def share(
        self,
        kind: type[State],
        layer: Layer,
        name: str,
        shape: tuple[int, ...],
        initializer: Initializer,
        dtype: str | None = None,
        **more: Any,
    ) -> Value:
        """The value of a parameter or state of a layer."""

    def carry(self, plan: Plan, layer: Layer, name: str, row: Spec, initializer: Initializer) -> Value:
        """The value of a state with one row per sample of the batch."""

    def cell(self, name: str, shape: tuple[int, ...] = (), dtype: str | None = None) -> Value:
        """The net's cell of that name."""

    def source_values(self, plan: Plan, layer: Layer) -> tuple[Value, ...]:
        """The tops of a data layer."""


#: The dtypes that a state may have; files can store them.
STATE_DTYPES = tuple(dtype for dtype in array_api.DTYPES if dtype != "bool")


class Builder:
    """Records one layer of a net into a plan.

    Attributes:
        phase: the phase that the plan is for. A layer that does nothing in one phase returns its bottoms.
        batch: rows in a minibatch.
        dtype: the floating dtype of the net, "float32" or "float64".
        seed: the system's seed, for ops that draw random numbers.
    """

    def __init__(self, recorder: Records, plan: Plan, layer: Layer) -> None:
        self._recorder = recorder
        self._plan = plan
        self._layer = layer
        self.phase: Phase = plan.phase
        self.batch: int = plan.batch
        self.dtype: str = recorder.dtype
        self.seed: int = recorder.seed

    def call(self, op: Op, *ins: Value) -> tuple[Value, ...]:
        """Record a use of `op`, and return its outputs, without those that it saves for backward."""
        return self._plan.call(op, *ins, layer=self._layer.name)

    def param(
        self,
        name: str,
        shape: tuple[int, ...],
        initializer: Initializer,
        regularizer: Regularizer | None = None,
        constraint: Constraint | None = None,
        multiplier: float = 1.0,
    ) -> Value:
        """A parameter, shared with every net that has this layer, and with layers of equal `param_key`."""
        return self._recorder.share(
            Parameter, self._layer, name, shape, initializer,
            regularizer=regularizer, constraint=constraint, multiplier=multiplier,
        )  # fmt: skip

    def state(
        self,
        name: str,
        shape: tuple[int, ...],
        initializer: Initializer,
        dtype: str | None = None,
        per_row: bool = False,
    ) -> Value:
        """A persistent value that ops update and that is not learned; it is shared as parameters are.

        An op sees what the ops before it wrote. The new contents are kept if the minibatch has no fault; in the test
        phase they are not kept.

        Args:
            name: its name in the layer.
            shape: its shape; with `per_row`, the shape of one row.
            initializer: sets the first contents; with `per_row`, those of each row.
            dtype: its dtype, such as "int64" for a counter; None: the net's.
            per_row: the value has one row per sample of the batch, such as the hidden state that a recurrent layer
                carries from one minibatch to the next. It belongs to this net alone and is saved in snapshots, not with
                the network. A run in the test phase has its own rows, which start with the first contents.

        Raises:
            ConfigurationError: there is no such dtype.
            ShapeError: it is shared, and has another shape or dtype.
        """
        dtype = self.dtype if dtype is None else dtype
        if dtype not in STATE_DTYPES:
            known = ", ".join(STATE_DTYPES)
            raise ConfigurationError(f"state '{name}': expected a dtype of {known}, received {checks.shown(dtype)}.")
        if per_row:
            return self._recorder.carry(self._plan, self._layer, name, Spec(shape, dtype), initializer)
        return self._recorder.share(State, self._layer, name, shape, initializer, dtype)

    def view(self, x: Value, shape: tuple[int, ...]) -> Value:
        """The same memory under another shape with the same number of elements."""
        rows = x.rows
        if rows:  # the rows of a sample stay adjacent
            rows = shape[0] // self.batch if shape and shape[0] % self.batch == 0 else 0
        view = Value(f"{self._layer.name}.{x.name}", shape, x.dtype, x.role, base=x, rows=rows)
        if view.spec.size != x.spec.size:
            raise ShapeError(f"cannot view {x.spec} as {view.spec}: the numbers of elements differ.")
        return view

    def cell(self, name: str) -> Value:
        """A shared small value of shape (): a `Cell` such as `Cell.STATUS`, or a string of equal value.

        Raises:
            UnknownNameError: there is no such cell.
            ConfigurationError: the cell depends on the value whose rows are counted.
        """
        checks.known("A program", "cell", name, Cell)
        if name in (Cell.VALID_ROWS, Cell.FIRST_ROW):
            raise ConfigurationError(
                f"the cell '{name}' counts rows of the minibatch, but a value may have other rows. Use "
                f"b.{name}(x), with the value x whose rows are counted."
            )
        return self._cell(name)

    def valid_rows(self, *x: Value) -> Value:
        """The cell of shape (), int32, with the number of rows of `x` that count, from the first on.

        It is the number of valid rows of the minibatch, times k if `x` has k rows per sample. If none of `x` depends on
        the minibatch, all rows count. If samples lie mixed (`Value.rows` is 0), all rows count, too, and a partial
        minibatch raises a `ShapeError`. Several values must have the same number of rows.
        """
        total = _rows(x[0])
        rows = {value.rows for value in x if value.rows is not None}
        if len(rows) == 1 and 0 not in rows:
            return self._row_cell(RowCell(Cell.VALID_ROWS, rows.pop()))
        mixed_in = self._layer.name if rows else ""
        return self._row_cell(RowCell(Cell.VALID_ROWS, constant=total, mixed_in=mixed_in))

    def first_row(self, x: Value) -> Value:
        """The cell of shape (), int64, with the number of rows of `x` that came before in the same iteration.

        They are the rows of the earlier minibatches whose gradients are accumulated. An op that draws random numbers
        for each row counts from there.
        """
        return self._row_cell(RowCell(Cell.FIRST_ROW, -(-_rows(x) // self.batch)))

    def _row_cell(self, cell: RowCell) -> Value:
        if cell.factor == 1:
            return self._cell(cell.source)
        self._plan.row_cells[cell.name] = cell
        return self._cell(cell.name, cells.DTYPES[cell.source])

    def _cell(self, name: str, dtype: str | None = None) -> Value:
        cell = self._recorder.cell(name, (), dtype)
        self._plan.cells[name] = cell
        return cell

    def fault_code(self) -> int:
        """Allocate a fault code, which the next recorded call writes into the status cell when its input is invalid.

        Pass it to the op as an attribute. When the status cell holds it after a run, the op's `explain` gives the text
        of the error.
        """
        return self._plan.fault_code()

    def once(self, key: Hashable, record: Callable[[], Value]) -> Value:
        """Return what `record` returned at the first call with this key, so that layers of a net can share a value."""
        if key not in self._plan.recorded:
            self._plan.recorded[key] = record()
        return self._plan.recorded[key]

    def is_data(self, x: Value) -> bool:
        """Whether a value is a data layer's top."""
        made = (step.call for step in self._plan.steps if x in step.call.outs)
        return any(all(v.role in (Role.DATA, Role.CELL) for v in call.ins) for call in made)

    def warn(self, message: str) -> None:
        """Log a warning about this layer, unless the net logged it before."""
        self._recorder.warn(f"{self._layer} in net '{self._recorder.name}': {message}")

    def stream(self, op: str) -> int:
        """The number of the random stream for this layer's use of `op`."""
        return stream_id(self._layer.name, op)

    def loss(self, value: Value, weight: float = 1.0) -> None:
        """Add `weight` times a value without axes to the objective."""
        self._plan.losses.append((value, weight))

    def statistic(self, key: str, label: str, percent: bool = False) -> Value:
        """A cell of shape (2,), float64, with the sum and the count for a mean over an epoch.

        An op adds to it through `updates`. Its name in `net.statistics()` is `layer-key`; logs show it with its
        `label`, as a fraction or `percent`: `Accuracy (avg over 10000) = 96.0500%`.
        """
        total = self._recorder.cell(f"{self._layer.name}-{key}", (2,), "float64")
        self._plan.statistics.append(Statistic(self._layer.name, key, label, percent, total))
        return total

    def source(self) -> tuple[Value, ...]:
        """The tops of this data layer."""
        return self._recorder.source_values(self._plan, self._layer)


def _rows(x: Value) -> int:
    if not x.shape:
        raise ShapeError(f"expected a blob with at least one axis (N, ...), received {x.spec}.")
    return x.shape[0]


class UpdateBuilder:
    """A solver records its exchange steps, and then its update steps, through it."""

    def __init__(self, recorder: Records, plan: Plan, scheduled: Iterable[str] = ()) -> None:
        self._recorder = recorder
        self._plan = plan
        self._known = (*Cell, *scheduled)
        self.dtype: str = recorder.dtype

    def gradient(self, parameter: Parameter) -> Value:
        """The gradient of a parameter on which the objective depends."""
        return self._plan.gradients[parameter.value]

    def cell(self, name: str) -> Value:
        """A cell of shape (): one that the solver's `schedule` fills, such as "learning_rate", or a `Cell`.

        Raises:
            UnknownNameError: `name` is neither.
        """
        checks.known("The solver's schedule", "cell", name, self._known)
        cell = self._recorder.cell(name)
        self._plan.cells[name] = cell
        return cell

    def fault_code(self) -> int:
        """Allocate a fault code, which the next recorded call writes into the status cell if a result is invalid."""
        return self._plan.fault_code()

    def exchange(self, op: Op, *ins: Value, layer: str = "(solver)") -> tuple[Value, ...]:
        """Record an exchange step, which runs once per iteration between backward and the updates, even after a fault.

        It changes gradients, or the status, through `op.updates`. In a plan with exchange steps, no update is folded
        into a gradient. Returns the op's outputs.

        Raises:
            TopologyError: an update was recorded before.
        """
        if any(step.section is Section.UPDATE for step in self._plan.steps):
            raise TopologyError(
                f"Net '{self._plan.net}': exchange step '{op.name}' was recorded after an update. Record it in "
                "Solver.exchange, or in the hook mocha_record_exchange."
            )
        return self._plan.call(op, *ins, layer=layer, section=Section.EXCHANGE)

    def call(self, op: Op, *ins: Value, layer: str = "") -> None:
        """Record an update step."""
        self._plan.call(op, *ins, layer=layer, section=Section.UPDATE)
