"""Toy backend `deferred`: a program is recorded once as a flat queue of commands, and replayed.

Between splits no Python stands between steps, addresses never change, the schedule is copied to the device once,
and losses, the number of finished iterations and the status come back when the device is synchronised.
"""

from __future__ import annotations

from itertools import groupby

import numpy as np

from mocha_core.compile.backend import Backend
from mocha_core.compile.program import Program
from mocha_core.errors import StateError
from mocha_core.graph.plan import Section
from toys.device import Device, DeviceArray, DeviceNamespace, drain


class Deferred(Backend):
    name = "deferred"
    resident_bytes = 1 << 30

    def __init__(self, resident=True):
        self.device = Device()
        self.xp = DeviceNamespace(self.device)
        if not resident:
            self.resident_bytes = 0

    def empty(self, shape, dtype):
        return DeviceArray(self.device, np.empty(shape, dtype))

    def to_numpy(self, array):
        return self.device.read(array)

    def copy_from_numpy(self, array, source):
        array[...] = np.array(source)

    def executor(self, *parts):
        return DeferredProgram(self, *parts)


class DeferredProgram(Program):
    def __init__(self, *parts):
        super().__init__(*parts)
        self.device = self.backend.device
        self.counter = np.zeros(2, np.int64)  # minibatches begun, iterations done
        self.over = False  # a fault or the caller ended the run: what is left in the queue does nothing
        self.columns = []
        self.ring = np.zeros(0)
        self.recorded = {section: self._record(section) for section in Section}
        self.splits = 0
        self.addresses = self._addresses()

    def _record(self, *sections):
        """Runs of commands: device segments as lists, Python steps alone."""
        bound = [b for b in self.bound if b.step.section in sections]
        return [(splits, [b.run for b in group]) for splits, group in groupby(bound, lambda b: b.kernel.splits)]

    def iterate(self, n, schedule, stop=None):
        if self.plan.sectioned:
            raise StateError("This program's sections are run one by one: use run(section).")
        k = self.plan.minibatches
        self.columns = [(self.cells[name], np.array(v)) for name, v in schedule.items() if name in self.cells]
        self.ring = np.zeros(n * k)
        self.stop = np.zeros(1, np.int32) if stop is None else stop
        self.device.launch(self._begin)
        with self.changing(*Section):
            try:
                for _ in range(n):
                    self.execute(Section.CLEAR, self._is_over)
                    for _ in range(k):
                        self.device.launch(self._set_cells)
                        self.execute(Section.FORWARD, self._is_over)
                        self.execute(Section.BACKWARD, self._is_over)
                        self.device.launch(self._end_minibatch)
                    self.execute(Section.EXCHANGE, self._is_over)
                    self.device.launch(self._begin_updates)
                    self.execute(Section.UPDATE, self._skips_updates)
                    self.device.launch(self._end_iteration)
            finally:  # also when a Python step failed: how many iterations are done must be known
                try:
                    self.device.synchronise()
                finally:
                    self.objectives, self.done = np.array(self.ring), int(self.counter[1])
        assert self._addresses() == self.addresses, "a buffer was bound anew"
        return self.done

    def complete(self, bound):
        self.device.synchronise()
        if bound.kernel.splits:
            bound.run()
        else:
            self.device.launch(bound.run)
            self.device.synchronise()

    def execute(self, section, skip=lambda: False):
        for splits, commands in self.recorded[section]:
            if splits:
                self.device.synchronise()
                if not skip():
                    self.splits += 1
                    drain(commands)
            else:
                self.device.launch(lambda commands=commands: skip() or drain(commands))

    # What the device does by itself.

    def _begin(self):
        self.counter.fill(0)
        self.over = self.half_updated = False

    def _is_over(self):
        return self.over

    def _skips_updates(self):
        return self.over or self._failed()

    def _failed(self):
        return "status" in self.cells and bool(self.cells["status"].memory)

    def _set_cells(self):
        for cell, column in () if self.over else self.columns:
            cell.memory[...] = column[self.counter[0]]

    def _end_minibatch(self):
        if not self.over:
            if self.objective is not None:
                self.ring[self.counter[0]] = self.objective.memory
            self.counter[0] += 1

    def _begin_updates(self):
        self.half_updated = not self._skips_updates()

    def _end_iteration(self):
        if not self.over:
            self.counter[1] += not self._failed()
            self.over = self._failed() or bool(self.stop[0])
            self.half_updated = False

    def _addresses(self):
        buffers = [*self.memory.buffers.values(), *self.cells.values()]
        return [(id(buffer), buffer.address) for buffer in buffers]
