"""`Plan`: the steps of a net in order, and how the backward ones are derived from the forward ones."""

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NoReturn

from mocha_core.errors import ShapeError, StateError, TopologyError
from mocha_core.graph.op import Op
from mocha_core.graph.value import Role, Spec, Value, checked_specs


class Phase(StrEnum):
    """The purpose of a run: dropout drops, and statistics update, only while training."""

    TRAIN = "train"
    TEST = "test"


class Section(StrEnum):
    """Parts of a program that run alone or together, in this order."""

    PACK = "pack"
    """Packs parameters for kernels; run only when a parameter changed."""
    CLEAR = "clear"
    """Zeroes what is accumulated over minibatches."""
    FORWARD = "forward"
    BACKWARD = "backward"
    EXCHANGE = "exchange"
    """Changes the gradients of an iteration before its updates: clipping, sums over processes. It runs once per
    iteration, even if the status cell holds a fault; the program reads the status afterwards."""
    UPDATE = "update"


class Half(StrEnum):
    """Which of an op's two computations, forward or backward, a step runs."""

    FORWARD = "forward"
    BACKWARD = "backward"


@dataclass(eq=False, frozen=True)
class Call:
    """One use of an op by a layer; its two halves share one kernel. `outs` ends with the updated inputs."""

    op: Op
    ins: tuple[Value, ...]
    outs: tuple[Value, ...]
    layer: str = ""


@dataclass(eq=False, frozen=True)
class Step:
    """One half, forward or backward, of a call.

    A forward step's `ins` and `outs` are the call's. A backward step reads (*dy, *x, *y), None for an operand that it
    does not read, and writes the gradients of the inputs, None for a gradient that is not wanted. If `add[i]` is set,
    the step adds to `outs[i]` instead of overwriting it. Steps write their outputs in order.
    """

    call: Call
    half: Half
    ins: tuple[Value | None, ...]
    outs: tuple[Value | None, ...]
    add: tuple[bool, ...]
    section: Section

    @property
    def key(self) -> tuple[str, Half]:
        """The key under which fusions are registered: (op name, half)."""
        return self.call.op.name, self.half

    @property
    def reads(self) -> list[Value]:
        """Values whose contents this step needs, including outputs that it adds to."""
        added = [o for o, add in zip(self.outs, self.add, strict=True) if o is not None and add]
        return [v for v in self.ins if v is not None] + added

    @property
    def writes(self) -> list[Value]:
        return [v for v in self.outs if v is not None]

    def __repr__(self) -> str:
        return f"<{self.section}: {self.call.layer}.{self.call.op.name} {self.half}>"


def forward_step(call: Call, section: Section = Section.FORWARD) -> Step:
    """The forward half of a call as a step."""
    return Step(call, Half.FORWARD, call.ins, call.outs, (False,) * len(call.outs), section)


@dataclass(frozen=True)
class Statistic:
    """A running mean a layer reports over an epoch. `total` is a cell of shape (2,): sum and count."""

    layer: str
    key: str
    label: str
    percent: bool
    total: Value


@dataclass(frozen=True)
class RowCell:
    """A cell computed from `valid_rows` or `first_row`, for values whose rows are not the minibatch's samples.

    Attributes:
        source: the cell that it is computed from.
        factor: the cell is `factor` times the source; if 0, it is `constant`.
        constant: the number of all rows.
        mixed_in: the layer that reads the cell, if the rows of different samples lie mixed. Then no row can be left
            out, so only full minibatches are possible.
    """

    source: str
    factor: int = 0
    constant: int = 0
    mixed_in: str = ""

    @property
    def name(self) -> str:
        if self.factor:
            return f"{self.source} x {self.factor}"
        return f"{self.source} of {self.mixed_in or 'all'} ({self.constant})"


@dataclass(eq=False, repr=False)
class Plan:
    """The steps of one net for one phase and batch size, and the names of the values in them."""

    phase: Phase
    batch: int
    net: str = ""
    steps: list[Step] = field(default_factory=list)
    inputs: dict[str, Value] = field(default_factory=dict)
    """Tops of data layers that are written from Python before a run."""
    blobs: dict[str, Value] = field(default_factory=dict)
    """Tops by name; the last version, if layers change the blob in place."""
    losses: list[tuple[Value, float]] = field(default_factory=list)
    objective: Value | None = None
    statistics: list[Statistic] = field(default_factory=list)
    faults: dict[int, Call | None] = field(default_factory=dict)
    """The call that sets the status cell to a number, by number."""
    cells: dict[str, Value] = field(default_factory=dict)
    row_cells: dict[str, RowCell] = field(default_factory=dict)
    """The cells that a schedule need not fill, because they are computed from others."""
    gradients: dict[Value, Value] = field(default_factory=dict)
    recorded: dict[Hashable, Value] = field(default_factory=dict)
    """Values that layers share, by key; see `Builder.once`."""
    carried: dict[Value, Callable[[tuple[int, ...]], Any]] = field(default_factory=dict)
    """Per-row states of the test phase, and the functions that give their contents at the start of each run."""
    minibatches: int = 1
    """The number of minibatches whose gradients are added before one update."""
    sectioned: bool = False
    """Sections may run one by one, so no step may move from one into another."""
    fuse: bool = True
    """Registered rewrites may replace steps."""

    @property
    def title(self) -> str:
        """The name of the plan in errors: "Net 'LeNet', training batch 64"."""
        use = "predict" if self.inputs else "training" if self.phase is Phase.TRAIN else "test"
        return f"Net '{self.net}', {use} batch {self.batch}"

    @property
    def smaller(self) -> str:
        """The way out, for errors, if the plan needs too much memory."""
        return f"Use a smaller {'predict(..., batch_size=...)' if self.inputs else 'batch_size'}, or smaller layers."

    def __reduce__(self) -> NoReturn:
        raise StateError(
            f"The {self.title} cannot be copied or pickled: its steps name values of its System. Another net of the "
            "same layers has another plan; str(plan) says what will run."
        )

    def __str__(self) -> str:
        rows = [(s.section, s.call.layer, s.call.op.name, s.half, *map(_listed, (s.ins, s.outs))) for s in self.steps]
        widths = [max(len(row[i]) for row in rows) if rows else 0 for i in range(4)]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row[:4], widths, strict=True))
            + f"  {row[4]} -> {row[5]}"
            for row in rows
        ]
        return "\n".join([repr(self), *lines])

    def __repr__(self) -> str:
        return f"<Plan of {self.title}: {len(self.steps)} steps>"

    def call(self, op: Op, *ins: Value, layer: str = "", section: Section = Section.FORWARD) -> tuple[Value, ...]:
        """Record a use of `op` and return its visible outputs (neither saved nor updated ones)."""
        specs = checked_specs(op.name, op.infer(*(v.spec for v in ins)))
        outs = tuple(
            Value(f"{layer}.{op.name}" + (f"[{i}]" if len(specs) > 1 else ""), *s, rows=self._rows(op, ins, s))
            for i, s in enumerate(specs)
        )
        call = Call(op, ins, outs + tuple(ins[i] for i in op.updates), layer)
        self.steps.append(forward_step(call, section))
        fault = getattr(op, "fault", None)
        if fault in self.faults:
            self.faults[fault] = call
        return outs[: len(outs) - op.saved]

    def _rows(self, op: Op, ins: tuple[Value, ...], out: Spec) -> int | None:
        """`Value.rows` of an output: that of an input with the same number of rows, unless the op mixes rows."""
        given = {v.rows for v in ins if v.root.role is Role.BLOB} - {None}
        if not given:
            return None
        if 0 in given or op.mixes_rows:
            return 0
        return next((k for k in given if k and out.shape[:1] == (k * self.batch,)), 0)

    def with_row_cells(self, schedule: Mapping[str, Any]) -> dict[str, Any]:
        """A program's schedule, completed by the values of `row_cells`.

        Raises:
            ShapeError: a minibatch is partial, but a layer counts rows of a value in which samples lie mixed.
        """
        import numpy as np

        complete = dict(schedule)
        for name, cell in self.row_cells.items():
            if cell.source not in schedule:
                continue
            values = np.asarray(schedule[cell.source])
            if cell.mixed_in and np.any(values < self.batch):
                raise ShapeError(
                    f"{self.title}: layer '{cell.mixed_in}' counts rows of a blob in which the samples lie mixed "
                    f"(joined or sliced along the first axis, or with time first), so that all {self.batch} samples "
                    f"have to count; here only {values.min()} do. Choose a batch_size that divides the number of rows."
                )
            complete[name] = values * cell.factor if cell.factor else np.full(len(values), cell.constant)
        return complete

    def fault_code(self) -> int:
        """Allocate a fault code, which the next recorded call may write into the status cell."""
        code = len(self.faults) + 1
        self.faults[code] = None
        return code

    def prune(self, outputs: Iterable[Value]) -> None:
        """Keep only the steps that `outputs` depend on."""
        needed = {v.root for v in outputs}
        kept: list[Step] = []
        for step in reversed(self.steps):
            made = len(step.call.outs) - len(step.call.op.updates)
            # A state that this step updates may be read by a later one; cells and statistics are for Python.
            updated = [v for v in step.call.outs[made:] if v.root.role is Role.STATE]
            if needed & {v.root for v in (*step.call.outs[:made], *updated)}:
                kept.append(step)
                needed |= {v.root for v in step.reads}
        self.steps = kept[::-1]
        self.inputs = {name: v for name, v in self.inputs.items() if v in needed}
        self.row_cells = {name: cell for name, cell in self.row_cells.items() if self.cells[name] in needed}

    def differentiate(self, objective: Value, seed: Value, wanted: Mapping[Value, Value]) -> None:
        """Append the backward steps that give the gradients of parameters.

        Args:
            objective: a value without axes.
            seed: the cell that holds the gradient of the objective with respect to itself.
            wanted: the parameters, and where their gradients go. Afterwards `gradients` has those that reach
                the objective.
        """
        needed = set(wanted)
        for step in self.steps:
            if needed & {v.root for v in _differentiable(step.call)}:
                needed |= set(step.call.outs[: len(step.call.outs) - len(step.call.op.updates)])
        gradients = self.gradients
        gradients[objective] = seed
        written: set[Value | None] = set()
        uses = Counter(value.root for step in self.steps for value in step.call.ins)
        for step in reversed(list(self.steps)):
            call = step.call
            dy = tuple(self._gradient(o) for o in call.outs)
            differentiable = set(_differentiable(call))
            targets = [v if v in differentiable and v.root in needed else None for v in call.ins]
            if not any(targets) or not any(dy):
                continue
            if not call.op.has_backward:
                raise TopologyError(
                    f"Layer '{call.layer}' lies between a parameter and a loss, but its op '{call.op.name}' has "
                    "no gradient. Freeze the layers before it, or move the loss."
                )
            for i in call.op.passes_gradient:
                if i not in range(len(targets)):
                    raise TopologyError(
                        f"Layer '{call.layer}': passes_gradient of op '{call.op.name}' has {i}; expected indices of "
                        f"its {len(targets)} inputs, counted from 0."
                    )
                target = targets[i]
                like = target is not None and target is target.root and target.spec == call.outs[0].spec
                if target is not None and dy[0] is not None and like and uses[target] == 1:
                    self.gradients[target], targets[i] = dy[0], None
            if not any(targets):
                continue
            outs = tuple(None if target is None else self._make_gradient(target, wanted) for target in targets)
            add = []
            for root in (None if gradient is None else gradient.root for gradient in outs):
                accumulated = self.minibatches > 1 and root is not None and root.role is Role.PARAMETER_GRADIENT
                add.append(root is not None and (accumulated or root in written))
                written |= {root}
            x = tuple(v if call.op.reads("x", i) else None for i, v in enumerate(call.ins))
            y = tuple(v if call.op.reads("y", i) else None for i, v in enumerate(call.outs))
            self.steps.append(Step(call, Half.BACKWARD, dy + x + y, outs, tuple(add), Section.BACKWARD))

    def _gradient(self, value: Value) -> Value | None:
        """The gradient of a value, as a view where the value is one; None if nothing reached it yet."""
        root = self.gradients.get(value.root)
        if root is None or value.base is None:
            return root
        if value not in self.gradients:
            self.gradients[value] = Value(f"d {value.name}", value.shape, value.dtype, root.role, base=root)
        return self.gradients[value]

    def _make_gradient(self, value: Value, parameters: Mapping[Value, Value]) -> Value:
        root = value.root
        if root not in self.gradients:
            self.gradients[root] = parameters.get(root) or Value(
                f"d {root.name}", root.shape, root.dtype, Role.GRADIENT
            )
        gradient = self._gradient(value)
        assert gradient is not None
        return gradient


def _listed(values: Iterable[Value | None]) -> str:
    return ", ".join(f"{v.name} {v.spec}" for v in values if v is not None)


def _differentiable(call: Call) -> list[Value]:
    indices = call.op.differentiable
    chosen = call.ins if indices is None else [call.ins[i] for i in indices]
    return [v for v in chosen if v.root.role in (Role.BLOB, Role.PARAMETER)]
