"""A power of a linear function."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mocha_core.api import Kernel, Runnable
from mocha_cpu.arrays import Array, Buffers, Steps

if TYPE_CHECKING:
    from mocha_core.api import Backend, Call


class Power(Kernel):
    """Skips factors of 1 and terms of 0; computes squares by a product."""

    def __init__(self, backend: Backend, call: Call) -> None:
        self.op: Any = call.op
        self.backward_workspace = (call.ins[0].spec,)

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        steps = Steps()
        self.record(steps, ins[0], self.op.power, outs[0])
        return steps

    def backward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        dy, x, (dx, scratch) = ins[0], ins[1], outs
        factor = self.op.power * self.op.scale
        steps = Steps()
        if dx is None or (factor == 0 and add[0]):
            return steps
        if factor == 0:
            steps.do(dx.fill, 0)
            return steps
        self.record(steps, x, self.op.power - 1, scratch)
        steps.do(np.multiply, scratch, factor, out=scratch)
        steps.give(np.multiply, dy, scratch, out=dx, scratch=scratch, add=add[0])
        return steps

    def record(self, steps: Steps, x: Array, power: float, out: Array) -> None:
        """Record out = (scale * x + shift)**power."""
        steps.do(np.multiply, x, self.op.scale, out=out)
        if self.op.shift != 0:
            steps.do(np.add, out, self.op.shift, out=out)
        if power == 2:
            steps.do(np.square, out, out=out)
        elif power != 1:
            steps.do(np.power, out, power, out=out)
