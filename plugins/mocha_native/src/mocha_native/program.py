"""`NativeProgram`: the steps of a program as one array for C, which comes back to Python only where it has to."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mocha_core.errors import ConfigurationError, DataError, StateError
from mocha_core.plan import Section
from mocha_core.program import BoundStep, Program, Schedule, Stop, updates
from mocha_core.structural import Gather
from mocha_native._native import ffi, lib
from mocha_native.compiled import Array, Compiled, address, step_array

if TYPE_CHECKING:
    from mocha_native.backend import NativeBackend

#: Python runs signal handlers only between calls: so long, at most, one of them and an iteration take together.
SECONDS = 0.02


class Tape:
    """Steps in the three parts that `mocha_run` has.

    Attributes:
        runs: what runs each step.
        in_python: whether each step is one that Python runs.
        bounds: where the parts begin, and the end.
    """

    def __init__(self, once: list[BoundStep], minibatch: list[BoundStep], update: list[BoundStep]) -> None:
        self.runs = [bound.run for bound in (*once, *minibatch, *update)]
        self.in_python = [not isinstance(run, Compiled) for run in self.runs]
        self.bounds = [0, len(once), len(once) + len(minibatch), len(self.runs)]
        self.steps = step_array([run if isinstance(run, Compiled) else None for run in self.runs])
        after = next((i for i, bound in enumerate(minibatch) if updates(bound)), len(minibatch))
        #: From this step on, something may be updated and something else not yet.
        self.first_update = len(once) + after
        self.updates = self.first_update < len(self.runs)

    def run(self, threads: int) -> Any:
        """A run of one iteration of one minibatch, at its beginning."""
        run = ffi.new("mocha_run *")
        run.steps, run.bounds = self.steps, self.bounds
        run.iterations = run.minibatches = 1
        run.threads, run.seconds = threads, SECONDS
        return run

    def advance(self, run: Any) -> None:
        """Run on, in C and in Python, until the end, a fault, or a stop."""
        while True:
            reason = lib.mocha_advance(run)
            if reason == lib.MOCHA_PYTHON:
                end = self.bounds[run.part + 1]
                while run.step < end and self.in_python[run.step]:
                    self.runs[run.step]()
                    run.step += 1
            elif reason != lib.MOCHA_PAUSED:
                return


class NativeProgram(Program):
    """Runs whole iterations in C, or as much of them as lies between two steps in Python."""

    backend: NativeBackend

    def __post_init__(self) -> None:
        super().__post_init__()
        sections = {section: [b for b in self.bound if b.step.section is section] for section in Section}
        self._tapes = {section: Tape([], steps, []) for section, steps in sections.items()}
        forward_and_backward = [b for b in self.bound if b.step.section in (Section.FORWARD, Section.BACKWARD)]
        self._tape = Tape(sections[Section.CLEAR], forward_and_backward, sections[Section.UPDATE])
        self._tables = {
            b.step.call.ins[1]: b.step.call.ins[0].shape[0] for b in self.bound if isinstance(b.step.call.op, Gather)
        }

    def iterate(self, n: int, schedule: Schedule, stop: Stop | None = None) -> int:
        if self.plan.apart:
            raise StateError("This program's sections are run one by one: use run(section).")
        tape, k = self._tape, self.plan.minibatches
        self.objectives = np.zeros(n * k)
        self.done, self.half_updated = 0, False
        columns = [self._column(name, column, n * k) for name, column in schedule.items() if name in self.cells]
        run = tape.run(self.backend.threads)
        run.iterations, run.minibatches, run.n_columns = n, k, len(columns)
        run.columns = c_columns = ffi.new("mocha_column[]", len(columns))
        for i, (cell, values) in enumerate(columns):
            c_columns[i] = {"cell": address(cell), "values": address(values), "bytes": cell.nbytes}
        run.objectives = address(self.objectives, "double *")
        if self.objective is not None and self.objective.dtype == np.float32:
            run.objective32 = address(self.objective, "float *")
        elif self.objective is not None:
            run.objective64 = address(self.objective, "double *")
        run.status = address(self.cells["status"], "int32_t *") if "status" in self.cells else ffi.NULL
        run.stop = ffi.NULL if stop is None else address(stop, "int32_t *")
        try:
            with self.running():
                self.pack()
                self.storage.version += bool(self.changes)
                if n > 0:
                    tape.advance(run)
        except BaseException:
            self.half_updated = tape.updates and run.step >= tape.first_update
            raise
        finally:
            self.done = run.done
        return self.done

    def running(self) -> AbstractContextManager[Any]:
        """The backend's, where there are steps in Python."""
        python = not all(isinstance(bound.run, Compiled) for bound in self.bound)
        return self.backend.running() if python else nullcontext()

    def _column(self, name: str, column: NDArray[Any], count: int) -> tuple[Array, Array]:
        """A cell, and its values side by side as C reads them."""
        cell = self.cells[name]
        values = np.ascontiguousarray(np.asarray(column)[:count], cell.dtype)
        if values.shape != (count, *cell.shape):
            raise ConfigurationError(
                f"{self.plan.title}: expected {count} values of shape {cell.shape} for the cell '{name}', received an "
                f"array of shape {np.shape(column)}."
            )
        rows = self._tables.get(self.plan.cells[name])
        if rows is not None and values.size and not (values.min() >= 0 and values.max() < rows):
            raise DataError(
                f"{self.plan.title}: the order of a source with {rows} rows, '{name}', goes from row {values.min()} to "
                f"row {values.max()}. Mend its order(): expected numbers 0 to {rows - 1}."
            )
        return cell, values

    def execute(self, section: Section) -> None:
        tape = self._tapes[section]
        if tape.runs:
            tape.advance(tape.run(self.backend.threads))
