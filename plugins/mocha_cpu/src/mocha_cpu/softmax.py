"""Softmax over axis 1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from mocha_core.api import Kernel, Runnable, Spec
from mocha_cpu.arrays import Array, Buffers, Steps

if TYPE_CHECKING:
    from mocha_core.api import Backend, Call


class Softmax(Kernel):
    """y = exp(x) / total; dx = y * (dy - sum of dy * y)."""

    def __init__(self, backend: Backend, call: Call) -> None:
        x = call.ins[0].spec
        self.forward_workspace = (reduced(x),)
        self.backward_workspace = (x, reduced(x))

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        steps = Steps()
        record(steps, ins[0], *outs)
        return steps

    def backward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        (dy, _, y), (dx, scratch, total) = ins, outs
        steps = Steps()
        if dx is None:
            return steps
        steps.do(np.multiply, dy, y, out=scratch)
        steps.do(np.add.reduce, scratch, axis=1, keepdims=True, out=total)
        steps.do(np.subtract, dy, total, out=scratch)
        steps.give(np.multiply, scratch, y, out=dx, scratch=scratch, add=add[0])
        return steps


def reduced(x: Spec) -> Spec:
    """One number for each sample and position of x."""
    return Spec((x.shape[0], 1, *x.shape[2:]), x.dtype)


def record(steps: Steps, x: Array, y: Array, scratch: Array) -> None:
    """Record y = softmax(x). It subtracts the largest x first, so that nothing overflows."""
    steps.do(np.maximum.reduce, x, axis=1, keepdims=True, out=scratch)
    steps.do(np.subtract, x, scratch, out=y)
    steps.do(np.exp, y, out=y)
    steps.do(np.add.reduce, y, axis=1, keepdims=True, out=scratch)
    steps.do(np.divide, y, scratch, out=y)
