"""`NativeProgram`: runs the steps of a program in C, and returns to Python only for steps that Python runs."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mocha_core.api import (
    BoundStep,
    Cell,
    Profile,
    Program,
    Schedule,
    Section,
    StateError,
    StepTime,
    Stop,
    Value,
    checked_columns,
    updates,
)
from mocha_native import compiled
from mocha_native._native import ffi, lib
from mocha_native.compiled import Compiled, address, step_array
from mocha_native.rows import SHORT, RowsRun, advance_with_lock, can_bind, plain_result

if TYPE_CHECKING:
    from mocha_native.backend import NativeBackend

#: Python handles signals only when C returns. A call into C ends after this many seconds, at the end of an iteration.
SECONDS = 0.02

SECTIONS = tuple(Section)


class Tape:
    """The steps, in the four parts of `mocha_run`.

    Attributes:
        runs: the callables that run the steps; a `Series` is one callable for each of its kernels.
        owners: the step of the program that each of them belongs to.
        in_python: whether Python runs it.
        beginning: the `mocha_run` before the first step, for one iteration of one minibatch.
    """

    def __init__(
        self,
        threads: int,
        minibatch: list[BoundStep],
        once: Sequence[BoundStep] = (),
        exchange: Sequence[BoundStep] = (),
        update: Sequence[BoundStep] = (),
    ) -> None:
        self.runs: list[Any] = []
        self.owners: list[BoundStep] = []
        bounds = [0]
        for part in (once, minibatch, exchange, update):
            for bound in part:
                pieces = bound.run.parts if isinstance(bound.run, Compiled) else (bound.run,)
                self.runs += pieces
                self.owners += [bound] * len(pieces)
            bounds.append(len(self.runs))
        self.in_python = [not isinstance(run, Compiled) for run in self.runs]
        self._steps = step_array([run if isinstance(run, Compiled) else None for run in self.runs])
        self.beginning = ffi.new("mocha_run *")
        self.beginning.steps, self.beginning.bounds = self._steps, bounds
        self.beginning.iterations = self.beginning.minibatches = 1
        self.beginning.threads, self.beginning.seconds = threads, SECONDS
        self.beginning.pace.worth = compiled.WORTH
        #: From this step on, an exception may leave some parameters updated and others not.
        self.first_update = next((i for i in range(bounds[1], bounds[2]) if updates(self.owners[i])), bounds[3])
        self.updates = self.first_update < len(self.runs)
        self._seconds = SHORT
        """The duration of the last call, for one iteration."""

    def run(self, seconds: NDArray[np.float64] | None = None) -> Any:
        """A new run, so that several threads may run at once. It adds the time of each step to `seconds`."""
        run = ffi.new("mocha_run *", self.beginning[0])
        if seconds is not None:
            run.step_seconds = address(seconds, "double[]")
        return run

    def advance(self, run: Any) -> None:
        """Run the steps, in C and in Python, until the end, a fault, or a stop."""
        while True:
            if self._seconds * run.iterations < SHORT and threading.active_count() > 1:
                reason = advance_with_lock(int(ffi.cast("intptr_t", run)))
            else:
                reason = lib.mocha_advance(run)
            self._seconds = run.taken / max(run.done, 1)
            self.beginning.pace = run.pace
            if reason == lib.MOCHA_PYTHON:
                end = run.bounds[run.part + 1]
                while run.step < end and self.in_python[run.step]:
                    start = perf_counter()
                    self.runs[run.step]()
                    if run.step_seconds:
                        run.step_seconds[run.step] += perf_counter() - start
                    run.step += 1
            elif reason != lib.MOCHA_PAUSED:
                return


class NativeProgram(Program):
    """Runs whole iterations in C, or the steps between two that Python runs."""

    backend: NativeBackend

    def __post_init__(self) -> None:
        super().__post_init__()
        sections = {section: [b for b in self.bound if b.step.section is section] for section in Section}
        threads = self.backend.threads
        self._tapes = {section: Tape(threads, steps) for section, steps in sections.items()}
        forward_and_backward = [b for b in self.bound if b.step.section in (Section.FORWARD, Section.BACKWARD)]
        others = (sections[section] for section in (Section.CLEAR, Section.EXCHANGE, Section.UPDATE))
        self._tape = self._tape_of(forward_and_backward, *others)
        python = not all(isinstance(bound.run, Compiled) for bound in self.bound)
        self._in_c = not python
        #: A context around every run. Programs with steps in Python use that of the backend, which threads may share.
        self._running: AbstractContextManager[Any] = self.backend.running() if python else nullcontext()
        self._tape.beginning.minibatches = self.plan.minibatches
        if self.objective is not None and self.objective.dtype == np.float32:
            self._tape.beginning.objective32 = address(self.objective, "float[]")
        elif self.objective is not None:
            self._tape.beginning.objective64 = address(self.objective, "double[]")

    def _tape_of(self, *parts: list[BoundStep]) -> Tape:
        tape = Tape(self.backend.threads, *parts)
        if Cell.STATUS in self.cells:
            tape.beginning.status = address(self.cells[Cell.STATUS], "int32_t[]")
        return tape

    def profile(self, n: int, schedule: Schedule, sections: Sequence[Section] = ()) -> Profile:
        """As `Program.profile`: the executor measures the C kernels."""
        tapes = [self._tapes[section] for section in sections] or [self._tape]
        seconds = [np.zeros(len(tape.runs)) for tape in tapes]
        if not sections:
            self.iterate(n, schedule, None, seconds[0])
        for i in range(n if sections else 0):
            for section, tape, times in zip(sections, tapes, seconds, strict=True):
                with self._running, self.changing(section):
                    self.set_cells({name: column[i:] for name, column in schedule.items()})
                    tape.advance(tape.run(times))
        return Profile(
            StepTime(
                b.step.call.layer, b.step.call.op.name, b.step.section, getattr(run, "name", "Python"), float(s / n)
            )
            for tape, times in zip(tapes, seconds, strict=True)
            for b, run, s in zip(tape.owners, tape.runs, times, strict=True)
        )

    def iterate(
        self, n: int, schedule: Schedule, stop: Stop | None = None, seconds: NDArray[np.float64] | None = None
    ) -> int:
        """As `Program.iterate`; adds the time of each step to `seconds`."""
        if self.plan.sectioned:
            raise StateError("This program's sections are run one by one: use run(section).")
        tape, k = self._tape, self.plan.minibatches
        # This name keeps the array alive for C, even if another thread wrongly runs the program and replaces it.
        objectives = self.objectives = np.zeros(n * k)
        self.done, self.half_updated = 0, False
        columns = [(self.cells[name], values) for name, values in checked_columns(self, schedule, n * k).items()]
        run = tape.run(seconds)
        run.iterations = n
        if columns:
            run.n_columns = len(columns)
            run.columns = c_columns = ffi.new("mocha_column[]", len(columns))
            for column, (cell, values) in zip(c_columns, columns, strict=True):
                column.cell, column.values, column.bytes = address(cell), address(values), cell.nbytes
        run.objectives = address(objectives, "double[]")
        if stop is not None:
            run.stop = address(stop, "int32_t[]")
        try:
            with self._running, self.changing(*SECTIONS):
                if n > 0:
                    tape.advance(run)
        except BaseException:
            self.half_updated = tape.updates and run.step >= tape.first_update
            self.clear_status()  # its minibatch did not finish and will run again
            raise
        finally:
            self.done = run.done
        return self.done

    def bind(self, given: Value, result: Value) -> RowsRun | None:
        """As `Program.bind`: for programs that run in C as a whole."""
        if not self._in_c or not can_bind(self, given, result):
            return None
        plain, converting = plain_result(self, result)
        tape = self._tape_of([b for b in self.bound if b.step.section is Section.FORWARD] + converting)
        return RowsRun(self, tape, self.memory.buffers[given.root].reshape(given.shape), plain)

    def execute(self, section: Section) -> None:
        tape = self._tapes[section]
        if tape.runs:
            tape.advance(tape.run())
