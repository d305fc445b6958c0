"""Dropout: the core's random numbers; the mask is kept for backward."""

from __future__ import annotations

from collections.abc import Sequence
from math import floor, prod
from typing import TYPE_CHECKING

import numpy as np

from mocha_core.kernel import Runnable
from mocha_core.value import Spec
from mocha_native.compiled import Buffers, NativeKernel, floating

if TYPE_CHECKING:
    from mocha_core.plan import Call
    from mocha_native.backend import NativeBackend

LOW = 0xFFFFFFFF


class Dropout(NativeKernel):
    """The mask has a byte for each element: 1 where it is kept."""

    def __init__(self, backend: NativeBackend, call: Call) -> None:
        super().__init__(backend, call)
        shape = call.ins[0].shape
        self.rows, self.features = shape[0], prod(shape[1:])
        self.factor = 1 / (1 - self.op.ratio) if self.op.auto_scale else 1.0
        self.saves = (Spec(shape, "int8"),)

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        # u > ratio, where u is a word's upper 24 bits times 2**-24 and the ratio is rounded as u is.
        threshold = floor(np.float32(self.op.ratio) * np.float32(2**24))
        key = self.op.seed & LOW, (self.op.seed >> 32) & LOW
        sizes = [self.rows, self.features, *key, self.op.stream, min((threshold << 8) + 255, LOW)]
        return self.bind("dropout_forward", [*ins, *outs], sizes, [self.factor])

    def backward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        dy, mask, dx = ins[0], ins[-1], outs[0]
        return self.bind("dropout_backward", [dy, mask, dx], [dx.size, add[0]], [self.factor])


dropout = floating(Dropout)
