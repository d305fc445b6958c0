"""`CUDAProgram`: many iterations without the host: their steps are graphs, their schedule and their losses tables."""

from __future__ import annotations

from collections.abc import Mapping
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
from mocha_layers_std.rectified import WithReLU

from mocha_core.errors import StateError
from mocha_core.plan import Section
from mocha_core.program import BoundStep, KernelUse, Program, Schedule, Stop, updates
from mocha_core.schedule import checked_columns
from mocha_cuda.compiled import CUDAKernel, Launch
from mocha_cuda.tape import Run, Tape

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mocha_cuda.backend import CUDABackend

#: Minibatches that the tables hold: after so many, at most, the host looks at the status.
MOST = 256
#: For so long, about, the device runs before the host looks at the status and at `stop`.
SECONDS = 0.02


def captured(bound: BoundStep) -> bool:
    """Whether a graph can hold a step. References allocate, and call libraries that refuse to be captured."""
    kernel = bound.kernel.inner if isinstance(bound.kernel, WithReLU) else bound.kernel
    return isinstance(kernel, CUDAKernel) and not kernel.splits


class CUDAProgram(Program):
    """Runs as many iterations between two looks of the host as take about 20 ms."""

    backend: CUDABackend

    def __post_init__(self) -> None:
        super().__post_init__()
        device = self.backend.device
        runs = {section: self._steps(section) for section in Section}
        self._tapes = {section: Tape(device, steps) for section, steps in runs.items()}
        self._chunk = 1
        self._columns: dict[str, Any] = {}
        if self.plan.apart:
            return
        #: Minibatches begun and iterations done, since the host looked.
        self._progress = self.backend.empty((2,), "int32")
        self._objectives = self.backend.empty((max(MOST, self.plan.minibatches),), "float64")
        self._table = self.backend.empty((max(1, len(self.cells)), 3), "uint64")
        status = self.cells.get("status")
        minibatch = [
            Run(self._between("begin_minibatch", self._table, len(self._table), status, self._progress)),
            *self._steps(Section.FORWARD, Section.BACKWARD),
            Run(self._between("end_minibatch", self.objective, self._objectives, status, self._progress)),
        ]
        end = Run(self._between("end_iteration", status, self._progress))
        iteration = [*runs[Section.CLEAR], *minibatch * self.plan.minibatches, *runs[Section.UPDATE], end]
        self._tape = Tape(device, iteration)
        #: From this step on, something may be updated and something else not yet.
        self._first_update = next((i for i, step in enumerate(iteration) if step.updates), len(iteration)) + 1

    def _steps(self, *sections: Section) -> list[Run]:
        return [Run(b.run, captured(b), updates(b)) for b in self.bound if b.step.section in sections]

    def _between(self, name: str, *operands: Any) -> Launch:
        dtype = "float32" if self.objective is None else str(self.objective.dtype)
        return Launch(self.backend, "program", name, dtype, 1, operands)

    def iterate(self, n: int, schedule: Schedule, stop: Stop | None = None) -> int:
        """As `Program.iterate`, but the iterations that the device was given before `stop` was set are done, too."""
        if self.plan.apart:
            raise StateError("This program's sections are run one by one: use run(section).")
        k = self.plan.minibatches
        columns = checked_columns(self, schedule, n * k)
        self.objectives = np.zeros(n * k)
        self.done, self.half_updated = 0, False
        copy, to_numpy = self.backend.copy_from_numpy, self.backend.to_numpy
        with self.backend.running():
            self.pack()
            self.storage.version += bool(self.changes)
            self._point(columns)
            while self.done < n:
                count = min(self._chunk, n - self.done)
                first, last = self.done * k, (self.done + count) * k
                for name, values in columns.items():
                    copy(self._columns[name][: count * k], values[first:last])
                copy(self._progress, np.zeros(2, np.int32))
                start = perf_counter()
                try:
                    with self.backend.device.guarded(self.cells.get("status")):
                        self._tape(count)
                except BaseException:
                    self.half_updated = self._tape.position >= self._first_update
                    raise
                finally:
                    done = int(to_numpy(self._progress)[1])
                    self.objectives[first:last] = to_numpy(self._objectives[: count * k])
                    self.done += done
                if done < count or (stop is not None and stop[0]):
                    break
                longer = perf_counter() - start < SECONDS
                self._chunk = min(self._chunk * 2, max(1, MOST // k)) if longer else max(1, self._chunk // 2)
        return self.done

    def _point(self, columns: Mapping[str, NDArray[Any]]) -> None:
        """Tell the device which cells have a table, and where."""
        table = np.zeros(self._table.shape, np.uint64)
        for row, name in zip(table, columns, strict=False):
            cell = self.cells[name]
            if name not in self._columns:
                self._columns[name] = self.backend.empty(
                    (max(MOST, self.plan.minibatches), *cell.shape), str(cell.dtype)
                )
            row[:] = (
                self.backend.device.address(cell),
                self.backend.device.address(self._columns[name]),
                cell.nbytes // 4,
            )
        self.backend.copy_from_numpy(self._table, table)

    def execute(self, section: Section) -> None:
        self._tapes[section]()

    def kernels(self) -> list[KernelUse]:
        """As `Program.kernels`; says which steps no graph can hold."""
        uses = zip(super().kernels(), self.bound, strict=True)
        return [use if captured(b) else use._replace(kernel=f"{use.kernel} (splits the graph)") for use, b in uses]
