"""`CUDAProgram`: runs many iterations without the host. Steps are graphs; schedules and objectives are tables."""

from __future__ import annotations

from contextlib import suppress
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np

from mocha_core.api import (
    BackendError,
    BoundStep,
    Cell,
    KernelUse,
    Program,
    Schedule,
    Section,
    StateError,
    Stop,
    UpdateOp,
    checked_columns,
    updates,
)
from mocha_cuda.kernels.gather import at_once
from mocha_cuda.minibatches import Minibatches
from mocha_cuda.tape import Run, Tape

if TYPE_CHECKING:
    from mocha_cuda.backend import CUDABackend

#: The number of minibatches that the tables hold. The host checks the status at least after this many.
MOST = 256
#: The device runs for about this time before the host checks the status and `stop`.
SECONDS = 0.02


class CUDAProgram(Program):
    """Runs iterations for about 20 ms between two checks of the host."""

    backend: CUDABackend

    def __post_init__(self) -> None:
        super().__post_init__()
        device = self.backend.device
        runs = {section: self._steps(section) for section in Section}
        self._tapes = {section: Tape(device, steps) for section, steps in runs.items()}
        self._chunk = 1
        if self.plan.sectioned:
            return
        steps = self._steps(Section.FORWARD, Section.BACKWARD)
        gathers = at_once(step.run for step in steps)
        k = self.plan.minibatches
        # Other processes may wait in an exchange step in Python, so all check the status after the same iteration.
        shared = not all(step.captured for step in runs[Section.EXCHANGE])
        self._longest = 1 if shared else max(1, MOST // k)
        self._minibatches = Minibatches(self.backend, self.cells, self.objective, max(MOST, k), gathers)
        minibatch = [Run(self._minibatches.begin), *steps[len(gathers) :]]
        others = [*minibatch, Run(self._minibatches.end)] * (k - 1)
        end = Run(self._minibatches.end_of_iteration)
        after = [*runs[Section.EXCHANGE], *runs[Section.UPDATE], end]
        iteration = [*runs[Section.CLEAR], *others, *minibatch, *after]
        self._tape = Tape(device, iteration)
        #: From this step on, an exception may leave some parameters updated and others not.
        self._first_update = next((i for i, step in enumerate(iteration) if step.updates), len(iteration)) + 1

    def _steps(self, *sections: Section) -> list[Run]:
        return [Run(b.run, b.kernel.captured, updates(b)) for b in self.bound if b.step.section in sections]

    def iterate(self, n: int, schedule: Schedule, stop: Stop | None = None) -> int:
        """As `Program.iterate`, but the device also finishes the iterations that it received before `stop` was set."""
        if self.plan.sectioned:
            raise StateError("This program's sections are run one by one: use run(section).")
        k = self.plan.minibatches
        columns = checked_columns(self, schedule, n * k)
        self.objectives = np.zeros(n * k)
        self.done, self.half_updated = 0, False
        minibatches = self._minibatches
        with self.backend.running(), self.changing(*Section):
            minibatches.schedule(columns)
            while self.done < n:
                count = min(self._chunk, n - self.done)
                first, last = self.done * k, (self.done + count) * k
                minibatches.give({name: values[first:last] for name, values in columns.items()})
                start = perf_counter()
                try:
                    with self.backend.device.guarded(self.cells.get(Cell.STATUS)):
                        self._tape(count)
                except BaseException:
                    self.half_updated = self._tape.position >= self._first_update
                    with suppress(BackendError):  # the device may be lost
                        if (fault := self.faulty_call()) is not None:
                            # A fault from forward or backward stopped all later updates; only a fault raised by an
                            # update can leave the net half updated.
                            self.half_updated = isinstance(fault.op, UpdateOp)
                        # Its minibatch did not finish and will run again.
                        self.clear_status()
                    raise
                finally:
                    done = minibatches.iterations()
                    self.objectives[first:last] = minibatches.objectives(count * k)
                    self.done += done
                if done < count or (stop is not None and stop[0]):
                    break
                longer = perf_counter() - start < SECONDS
                self._chunk = min(self._chunk * 2, self._longest) if longer else max(1, self._chunk // 2)
        return self.done

    def complete(self, bound: BoundStep) -> None:
        bound.run()
        self.backend.device.stream.synchronize()

    def execute(self, section: Section) -> None:
        self._tapes[section]()

    def kernels(self) -> list[KernelUse]:
        """As `Program.kernels`; marks the steps that no graph can hold."""
        uses = zip(super().kernels(), self.bound, strict=True)
        return [
            use if b.kernel.captured else use._replace(kernel=f"{use.kernel} (splits the graph)") for use, b in uses
        ]
