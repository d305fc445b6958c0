"""Dropout with the core's random numbers. Backward draws them again, which takes less time than reading a mask."""

from __future__ import annotations

from collections.abc import Sequence
from math import floor, prod
from typing import Any

import numpy as np

from mocha_core.api import Runnable
from mocha_cuda.compiled import Buffers, CUDAKernel, served

LOW = 0xFFFFFFFF


class Dropout(CUDAKernel):
    """Both halves use one kernel, for x and for dy."""

    family = "dropout"

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        return self._drop(ins[0], ins[1], ins[2], outs[0], False)

    def backward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        dy, _, iteration, first_row = ins[:4]
        return self._drop(dy, iteration, first_row, outs[0], add[0])

    def _drop(self, x: Any, iteration: Any, first_row: Any, y: Any, add: bool) -> Runnable:
        op, shape = self.op, self.call.ins[0].shape
        rows, features = shape[0], prod(shape[1:])
        # u > ratio, where u is a word's upper 24 bits times 2**-24 and the ratio is rounded as u is.
        threshold = floor(np.float32(op.ratio) * np.float32(2**24))
        words = op.seed & LOW, (op.seed >> 32) & LOW, op.stream, min((threshold << 8) + 255, LOW)
        factor = 1 / (1 - op.ratio) if op.auto_scale else 1.0
        operands = [x, iteration, first_row, y, rows, features, *map(np.uint32, words), float(factor), add]
        return self.bind("dropout", *operands, threads=rows * -(-features // 4))


dropout = served(Dropout)
