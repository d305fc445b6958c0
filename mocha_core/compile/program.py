"""`Program`: a compiled plan. Between two coffee breaks it only runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, TypeAlias

import numpy as np

from mocha_core.compile.kernel import BoundStep, Runnable
from mocha_core.compile.layout import PLAIN, Convert
from mocha_core.compile.layout_pass import Arrangement
from mocha_core.compile.placement import Memory, plain_copy
from mocha_core.compile.profiling import Profile, Timer
from mocha_core.compile.storage import Storage
from mocha_core.errors import StateError
from mocha_core.graph.array_api import Array
from mocha_core.graph.cells import Cell
from mocha_core.graph.plan import Call, Plan, Section
from mocha_core.graph.structural import Gather
from mocha_core.graph.value import Role, Value

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mocha_core.compile.device import Device

#: The values of cells, by name: one per minibatch.
Schedule = Mapping[str, "NDArray[Any]"]
#: An array of one element, which another thread or a signal handler may set from 0 to 1 at any time.
Stop: TypeAlias = "NDArray[np.int32]"

#: From an array of rows to an array of as many rows.
Bound: TypeAlias = "Callable[[NDArray[Any]], NDArray[Any] | None]"

#: What the programs of a net may take together, and as much again those of its predictions: so many that people who
#: vary frozen layers, solvers, outputs or the numbers of rows compile each once.
KEPT_BYTES = 2**28
#: Bytes; what a program takes besides its memory: steps, bound kernels and their descriptors.
AROUND_MEMORY = 2**20


class KernelUse(NamedTuple):
    """One line of `program.kernels()`."""

    layer: str
    op: str
    half: str
    kernel: str
    plugin: str


@dataclass(eq=False, repr=False)
class Program:
    """A sequence of bound steps. Backends that compile further inherit this class and override `iterate` and `execute`.

    Attributes:
        plan: the plan that was compiled.
        bound: the steps in order.
        memory: the buffers of the values; `memory.total` is in bytes.
        cells: the buffers of the plan's cells by name.
        objective: the buffer of one minibatch's objective; None in a net without losses.
        objectives: the objective of each minibatch of the last `iterate`.
        done: how many iterations of the last `iterate` were done, even if an exception ended it.
        half_updated: whether that exception came between the updates of one iteration.
        tables: the number of rows of each source that stays on the device, by the cell that chooses a minibatch's rows.
        changes: sections that write parameters or states; `storage.version` must grow before and after they run.
    """

    backend: Device
    plan: Plan
    bound: list[BoundStep]
    arrangement: Arrangement
    memory: Memory
    storage: Storage

    def __post_init__(self) -> None:
        self.objectives: NDArray[Any] = np.zeros(0)
        self.done = 0
        self.half_updated = False
        self.changes = {b.step.section for b in self.bound if any(map(outlives_runs, b.step.writes))}
        gathers = [step.call for step in self.plan.steps if isinstance(step.call.op, Gather)]
        self.tables = {call.ins[1]: call.ins[0].shape[0] for call in gathers}
        self._packed_version = -1
        self.storage.allocate(self.plan.cells.values())
        self.cells: dict[str, Array] = {name: self.storage[value] for name, value in self.plan.cells.items()}
        self.objective: Array | None = None if self.plan.objective is None else self._buffer(self.plan.objective)

    @property
    def taken(self) -> int:
        """About how many bytes are free again when the program is forgotten."""
        return self.memory.total + AROUND_MEMORY

    def runs(self, *sections: Section) -> list[Runnable]:
        """The bound kernels of some sections, in order."""
        return [bound.run for bound in self.bound if bound.step.section in sections]

    def iterate(self, n: int, schedule: Schedule, stop: Stop | None = None) -> int:
        """Run n iterations: each `plan.minibatches` times forward and backward, one exchange, and one update.

        Sets `objectives`, `done` and `half_updated`, and runs inside `changing`.

        Args:
            n: how many.
            schedule: values for cells, n * minibatches each; cells that it does not name keep their values.
            stop: once its element is not 0, the current iteration is the last.

        Returns:
            How many iterations were done before one reported a fault in the status cell. After a fault in forward,
            backward or exchange, the failing iteration has updated nothing; its exchange ran to the end, so that no
            other process waits for it. After a fault in an update, no later update ran. If an exception ends
            `iterate`, it clears the status cell.
        """
        if self.plan.sectioned:
            raise StateError("This program's sections are run one by one: use run(section).")
        clear, exchange, update = map(self.runs, (Section.CLEAR, Section.EXCHANGE, Section.UPDATE))
        before, folded = self._minibatch()
        k = self.plan.minibatches
        copy, to_numpy = self.backend.copy_from_numpy, self.backend.to_numpy
        schedule = self.plan.with_row_cells(schedule)
        cells = [(self.cells[name], column) for name, column in schedule.items() if name in self.cells]
        status, objective = self.cells.get(Cell.STATUS), self.objective

        def failed() -> bool:
            return status is not None and bool(to_numpy(status) != 0)

        self.objectives = np.zeros(n * k)
        self.done, self.half_updated = 0, False
        try:
            with self.backend.running(), self.changing(*Section):
                for i in range(n):
                    for run in clear:
                        run()
                    for j in range(i * k, i * k + k):
                        for cell, column in cells:
                            copy(cell, column[j])
                        for run in before:
                            run()
                        self.half_updated = bool(folded)
                        for run in folded:
                            run()
                        if objective is not None:
                            self.objectives[j] = to_numpy(objective)
                    for run in exchange:
                        run()
                    if failed():
                        break
                    self.half_updated = bool(folded or update)
                    for run in update:
                        run()
                    if update and failed():
                        break
                    self.done = i + 1
                    self.half_updated = False
                    if stop is not None and stop[0]:
                        break
        except BaseException:
            self.clear_status()  # the minibatch with the fault was not done, and will run again
            raise
        self.half_updated = False
        return self.done

    def bind(self, given: Value, result: Value) -> Bound | None:
        """A faster way to run one iteration of a program that changes no parameter or state; None, as here: no way.

        It takes from one row to as many as the input `given` has, in an array of its dtype that is C-ordered. The last
        of them stands for those that are missing, and `Cell.VALID_ROWS` is set. It returns that many rows of `result`,
        which the caller owns, or None after a fault, for which the status cell has the code. One thread at a time may
        call it, and none that runs the program in another way meanwhile.
        """
        return None

    def profile(self, n: int, schedule: Schedule, sections: Sequence[Section] = ()) -> Profile:
        """Run n iterations, which update parameters, and return the mean time of each step.

        Args:
            n: at least 1.
            schedule: as for `iterate`.
            sections: run these sections n times instead of whole iterations, with one value of the schedule each time.
        """
        whole = [section for section in Section if section is not Section.PACK]
        timer = Timer(self.complete, [b for b in self.bound if b.step.section in (sections or whole)])
        with timer.running():
            if not sections:
                Program.iterate(self, n, schedule)
            for i, section in product(range(n), sections):
                with self.backend.running(), self.changing(section):
                    self.set_cells({name: column[i:] for name, column in schedule.items()})
                    Program.execute(self, section)
        return timer.profile(n)

    def _minibatch(self) -> tuple[list[Runnable], list[Runnable]]:
        """The runs of forward and backward, in two parts: before the first folded update, and from it on."""
        steps = [b for b in self.bound if b.step.section in (Section.FORWARD, Section.BACKWARD)]
        at = next((i for i, b in enumerate(steps) if updates(b)), len(steps))
        runs = [b.run for b in steps]
        return runs[:at], runs[at:]

    def faulty_call(self) -> Call | None:
        """The call that reported the first fault since `clear_status`."""
        return self.plan.faults.get(self.status())

    def execute(self, section: Section) -> None:
        """Run the bound kernels of one section, without packing or setting cells."""
        for run in self.runs(section):
            run()

    def complete(self, bound: BoundStep) -> None:
        """Run one step alone, and wait until the device has finished it."""
        bound.run()

    def run(self, section: Section, schedule: Schedule | None = None) -> None:
        """Set each cell in `schedule` to its first value, then run one section."""
        with self.backend.running(), self.changing(section):
            self.set_cells(schedule or {})
            self.execute(section)
        if self.objective is not None:
            self.objectives = np.asarray([self.backend.to_numpy(self.objective)])

    def set_cells(self, schedule: Schedule) -> None:
        """Set each cell to the first of its values."""
        for name, column in self.plan.with_row_cells(schedule).items():
            if name in self.cells:
                self.backend.copy_from_numpy(self.cells[name], column[0])

    def pack(self) -> None:
        """Pack parameters and states again if any changed since the last time."""
        version = self.storage.version  # read it first: a change during packing needs another packing
        if self._packed_version != version:
            self.execute(Section.PACK)
            self._packed_version = version

    def changing(self, *sections: Section) -> AbstractContextManager[None]:
        """Every run of these sections enters this: it packs, and lets `storage.version` grow if they change states."""
        self.pack()
        if not self.changes or self.changes.isdisjoint(sections):
            return nullcontext()
        return self.storage.changing()

    def status(self) -> int:
        """The code of the first fault reported since `clear_status`; 0 for none."""
        cell = self.cells.get(Cell.STATUS)
        return 0 if cell is None else int(self.backend.to_numpy(cell))

    def clear_status(self) -> None:
        """Clear the fault, so that updates have an effect again."""
        if Cell.STATUS in self.cells:
            self.backend.copy_from_numpy(self.cells[Cell.STATUS], np.asarray(0))

    def read(self, value: Value, name: str = "") -> NDArray[Any]:
        """A copy of a value's contents after a run, as plain N,C,H,W; errors call the value `name`.

        Raises:
            StateError: fusion removed the value, or its memory was used again; the error names `keep`.
        """
        name = name or value.name
        self.check_present(value, name)
        if value.root not in self.memory.buffers:
            return self.backend.to_numpy(self.storage[value])
        plain = plain_copy(value.root, self.memory, self.arrangement, self.backend)
        return self.backend.to_numpy(plain).reshape(value.shape)

    def check_present(self, value: Value, name: str) -> None:
        """Raise `StateError` unless a value's contents are still there after a run."""
        way_out = f"Build the net with Net(..., keep=['{name}']) to reach it."
        if value.root not in self.memory.buffers and value not in self.storage:
            raise StateError(f"Blob '{name}' is not computed by the program that ran last. {way_out}")
        if value.root in self.memory.overwritten:
            raise StateError(f"The memory of blob '{name}' was used again in the run. {way_out}")

    def write(self, value: Value, array: NDArray[Any]) -> None:
        """Overwrite the contents of a value, such as an input, from a plain N,C,H,W array.

        If sections run one by one, its copies in other layouts are made again.
        """
        home, buffer = self.arrangement.home(value), self._buffer(value)
        if home is PLAIN:
            self.backend.copy_from_numpy(buffer, array)
        else:
            plain = self.backend.empty(value.shape, value.dtype)
            self.backend.copy_from_numpy(plain, array)
            home.pack(self.backend, plain, buffer, gradient=value.root.role is Role.GRADIENT, add=False)
        stale = {value.root}
        for bound in self.bound if self.plan.sectioned else ():
            call = bound.step.call
            if isinstance(call.op, Convert) and bound.step.section is Section.FORWARD and call.ins[0].root in stale:
                bound.run()
                stale.add(call.outs[0])

    def start_anew(self) -> None:
        """Set per-row states of the test phase to their first contents, before a run."""
        for value, first in self.plan.carried.items():
            if value in self.memory.buffers:
                self.write(value, first(value.shape))

    def kernels(self) -> list[KernelUse]:
        """The kernel of each step, and its plugin."""
        calls = [(b.step.call, b.step.half, b.kernel) for b in self.bound]
        return [KernelUse(call.layer, call.op.name, half, k.label, k.plugin) for call, half, k in calls]

    def __str__(self) -> str:
        rows = [KernelUse("layer", "op", "half", "kernel", "plugin"), *self.kernels()]
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
        return "\n".join([repr(self), *(line.rstrip() for line in lines)])

    def __repr__(self) -> str:
        return f"<Program of {self.plan.title}: {len(self.bound)} steps, {self.memory.total:,} bytes>"

    def __reduce__(self) -> NoReturn:
        raise StateError(f"The program of {self.plan.title} cannot be copied or pickled: its net compiles another.")

    def _buffer(self, value: Value) -> Array:
        if value not in self.memory.buffers:
            self.storage.allocate([value])
            return self.storage[value]
        return self.memory.buffers[value]


def outlives_runs(value: Value) -> bool:
    """Whether the value persists between runs, so that other programs share it."""
    return value.root.role in (Role.PARAMETER, Role.STATE)


def updates(bound: BoundStep) -> bool:
    """Whether a step writes parameters."""
    return any(value.root.role is Role.PARAMETER for value in bound.step.writes)
