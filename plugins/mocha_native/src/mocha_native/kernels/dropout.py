"""Dropout: the core's random numbers; the mask is kept for backward."""

from __future__ import annotations

from collections.abc import Sequence
from math import floor, prod
from typing import TYPE_CHECKING

import numpy as np

from mocha_core.api import PLAIN, Layouts, Runnable, Spec
from mocha_native.compiled import Buffers, NativeKernel, floating

if TYPE_CHECKING:
    from mocha_core.api import Call
    from mocha_native.backend import NativeBackend

LOW = 0xFFFFFFFF


class Dropout(NativeKernel):
    """The mask has a byte for each element: 1 where it is kept."""

    def __init__(self, backend: NativeBackend, call: Call) -> None:
        super().__init__(backend, call)
        x = call.ins[0]
        self.layout = backend.blob_layout(x)
        self.layouts = Layouts(ins=(self.layout,), outs=(self.layout,))
        self.features = prod(x.shape[1:])
        self.factor = 1 / (1 - self.op.ratio) if self.op.auto_scale else 1.0
        self.saves = (Spec(self.layout.physical(x.spec).shape, "int8"),)

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        # u > ratio, where u is a word's upper 24 bits times 2**-24 and the ratio is rounded as u is.
        threshold = floor(np.float32(self.op.ratio) * np.float32(2**24))
        key = self.op.seed & LOW, (self.op.seed >> 32) & LOW
        sizes = [len(ins[0]), self.features, *key, self.op.stream, min((threshold << 8) + 255, LOW)]
        name = "dropout_forward" if self.layout is PLAIN else "dropout_lanes_forward"
        return self.bind(name, [*ins, *outs], sizes, [self.factor])

    def backward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        dy, mask, dx = ins[0], ins[-1], outs[0]
        return self.bind("dropout_backward", [dy, mask, dx], [dx.size, add[0]], [self.factor])


dropout = floating(Dropout)
