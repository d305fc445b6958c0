"""A backend that fills memory with garbage: all of it at first, and each value's after its last use."""

from __future__ import annotations

from dataclasses import replace

import numpy as np


class Poison:
    """Mix into a NumPy backend."""

    def place(self, plan, arrangement, chosen, storage):
        memory = super().place(plan, arrangement, chosen, storage)
        for value in memory.blocks:
            garbage(memory.buffers[value])
        self.memory = memory
        return memory

    def bind(self, arrangement, chosen, memory):
        last = {}
        for value, block in memory.blocks.items():
            last.setdefault(block.last, []).append(memory.buffers[value])
        steps = super().bind(arrangement, chosen, memory)
        return [replace(b, run=_then(b.run, last.get(at, ()))) for at, b in enumerate(steps)]


def garbage(array):
    if array.dtype.kind == "f":
        array[...] = np.nan
    else:
        array[...] = True if array.dtype.kind == "b" else -(2**30)


def _then(run, dead):
    def poisoned():
        run()
        for array in dead:
            garbage(array)

    return poisoned
