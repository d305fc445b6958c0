"""Max and mean pooling over channels: pooling of images whose rows are the channels."""

from __future__ import annotations

import numpy as np

from mocha_cpu.arrays import Array, Steps
from mocha_cpu.pooling import MaxPooling, MeanPooling


class MaxChannelPooling(MaxPooling):
    """The index is the winner's channel."""

    def record_index(self, steps: Steps, index: Array, code: Array, scratch: Array) -> None:
        steps.do(np.add, code, self.rows.starts[:, np.newaxis].astype(index.dtype), out=index)

    def record_position(self, steps: Steps, index: Array, position: Array) -> None:
        positions = np.arange(self.columns.size)
        steps.do(np.multiply, index, np.int64(self.columns.size), out=position)
        samples = np.arange(len(index)) * self.rows.size * self.columns.size
        steps.do(np.add, position, samples[:, np.newaxis, np.newaxis] + positions, out=position)


class MeanChannelPooling(MeanPooling):
    """The divisor is the kernel, wherever the window is."""

    def divisor(self) -> Array:
        return np.asarray(self.rows.kernel, self.out.dtype)
