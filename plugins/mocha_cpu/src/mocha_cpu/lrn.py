"""Local response normalization. Sums over windows are computed one axis and one neighbour at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from mocha_core.api import Kernel, Runnable
from mocha_cpu.arrays import Array, Buffers, Steps

if TYPE_CHECKING:
    from mocha_core.api import Backend, Call


class LRN(Kernel):
    """y = x * factor, factor = base**(-power), base = shift + scale / n * (sum of x**2 over the window)."""

    axes: ClassVar[tuple[int, ...]]

    def __init__(self, backend: Backend, call: Call) -> None:
        op: Any = call.op
        self.op = op
        self.mean_scale = op.scale / op.kernel ** len(self.axes)
        x = call.ins[0].spec
        self.saves = (x, x)
        self.backward_workspace = (x, x)

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        x, (y, base, factor) = ins[0], outs
        steps = Steps()
        first, second = (factor, base) if len(self.axes) == 1 else (base, factor)
        steps.do(np.square, x, out=first)
        self.record_sums(steps, first, second, (self.op.kernel - 1) // 2)
        steps.do(np.multiply, base, self.mean_scale, out=base)
        steps.do(np.add, base, self.op.shift, out=base)
        steps.do(np.power, base, -self.op.power, out=factor)
        steps.do(np.multiply, x, factor, out=y)
        return steps

    def backward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        dy, x, base, factor = ins[0], ins[1], *ins[-2:]
        dx, first, second = outs
        steps = Steps()
        if dx is None:
            return steps
        steps.do(np.multiply, dy, factor, out=first)
        steps.do(np.multiply, first, x, out=first)
        steps.do(np.divide, first, base, out=first)
        # An element is in the windows of the mirror image of its own.
        others = self.record_sums(steps, first, second, self.op.kernel - 1 - (self.op.kernel - 1) // 2)
        direct = second if others is first else first
        steps.do(np.multiply, others, x, out=others)
        steps.do(np.multiply, others, -2 * self.op.power * self.mean_scale, out=others)
        steps.do(np.multiply, dy, factor, out=direct)
        if add[0]:
            steps.do(np.add, dx, direct, out=dx)
            steps.do(np.add, dx, others, out=dx)
        else:
            steps.do(np.add, direct, others, out=dx)
        return steps

    def record_sums(self, steps: Steps, source: Array, target: Array, front: int) -> Array:
        """Record sums over windows that begin `front` before each element; return the array of the sums."""
        for axis in self.axes:
            steps.do(np.copyto, target, source)
            size = source.shape[axis]
            before = (slice(None),) * axis
            for shift in range(-front, self.op.kernel - front):
                if shift == 0 or abs(shift) >= size:
                    continue
                near = (*before, slice(max(0, -shift), size - max(0, shift)))
                far = (*before, slice(max(0, shift), size - max(0, -shift)))
                steps.do(np.add, target[near], source[far], out=target[near])
            source, target = target, source
        return source


class LRNAcrossChannel(LRN):
    """Windows are runs of neighbouring channels."""

    axes = (1,)


class LRNWithinChannel(LRN):
    """Windows are squares within a channel."""

    axes = (2, 3)
