"""Softmax over axis 1."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING

from mocha_core.api import Runnable
from mocha_native.compiled import Buffers, NativeKernel, floating

if TYPE_CHECKING:
    from mocha_core.api import Value


class Softmax(NativeKernel):
    """y = exp(x) / total; dx = y * (dy - sum of dy * y)."""

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        return self.bind("softmax_forward", [ins[0], outs[0]], sizes(self.call.ins[0]))

    def backward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        (dy, _, y), dx = ins, outs[0]
        return self.bind("softmax_backward", [dy, y, dx], [*sizes(self.call.ins[0]), add[0]])


def sizes(x: Value) -> tuple[int, int, int]:
    """Rows, classes and positions of (N, classes, ...)."""
    return x.shape[0], x.shape[1], prod(x.shape[2:])


softmax = floating(Softmax)
