"""Max and mean pooling over channels: pooling of images whose rows are the channels."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from mocha_cpu.arrays import Array, Steps
from mocha_cpu.pooling import MaxPooling, MeanPooling, Side

if TYPE_CHECKING:
    from mocha_core.api import Backend, Call


def sides(call: Call) -> tuple[Side, Side]:
    """Windows slide over the channels, and have one element along the positions."""
    op: Any = call.op
    x, y = call.ins[0].shape, call.outs[0].shape
    positions = prod(x[2:])
    return Side(x[1], y[1], op.reach, op.stride, op.pad[0]), Side(positions, positions)


class MaxChannelPooling(MaxPooling):
    """The index is the winner's channel."""

    def sides(self, call: Call) -> tuple[Side, Side]:
        return sides(call)

    def record_index(self, steps: Steps, index: Array, code: Array, scratch: Array) -> None:
        steps.do(np.add, code, self.rows.starts[:, np.newaxis].astype(index.dtype), out=index)

    def record_position(self, steps: Steps, index: Array, position: Array) -> None:
        positions = np.arange(self.columns.size)
        steps.do(np.multiply, index, np.int64(self.columns.size), out=position)
        samples = np.arange(len(index)) * self.rows.size * self.columns.size
        steps.do(np.add, position, samples[:, np.newaxis, np.newaxis] + positions, out=position)


class MeanChannelPooling(MeanPooling):
    """The divisor is the kernel, wherever the window is."""

    def sides(self, call: Call) -> tuple[Side, Side]:
        return sides(call)

    def __init__(self, backend: Backend, call: Call) -> None:
        super().__init__(backend, call)
        self.kernel: int = call.op.kernel  # type: ignore[attr-defined]

    def divisor(self) -> Array:
        return np.asarray(self.kernel, self.out.dtype)
