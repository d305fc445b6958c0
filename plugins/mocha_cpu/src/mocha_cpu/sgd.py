"""The update of stochastic gradient descent with momentum, in blocks that stay in the cache."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mocha_core.kernel import Kernel, Runnable
from mocha_core.value import Spec
from mocha_cpu.arrays import Array, Buffers

if TYPE_CHECKING:
    from mocha_core.backend import Backend
    from mocha_core.plan import Call

#: Elements; with fewer, calling NumPy takes longer than what it does.
BLOCK = 65536
#: Rates and coefficients up to this, times numbers whose squares are finite, are finite.
MODERATE = 1e15
ONES = np.asarray([1.0, -1.0])


class SGD(Kernel):
    """Writes w and h in place; regularizers and constraints are run as the pure functions they are.

    Where new values are checked, nothing is written before all are known to be finite. Constraints, and regularizers
    that are not element-wise, see the whole parameter.
    """

    def __init__(self, backend: Backend, call: Call) -> None:
        op: Any = call.op
        self.op = op
        self.regularizer = op.regularizer if op.regu_coef != 0 else None
        self.linear = op.constraint is None and (self.regularizer is None or self.regularizer.element_wise)
        penalty = self.regularizer.gradient(np, ONES) if self.linear and self.regularizer is not None else None
        self.steepness = 1.0 if penalty is None else 1.0 + op.regu_coef * float(np.abs(penalty).max())
        spec = call.ins[0].spec
        self.block = max(1, min(BLOCK, spec.size) if self.linear else spec.size)
        self.shape = (-1,) if self.linear else spec.shape
        self.forward_workspace = (Spec((self.block,), spec.dtype),)

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        w, g, h, learning_rate, momentum, status = ins
        op, scratch = self.op, outs[-1]
        blocks = []
        for start in range(0, w.size, self.block):
            w_, g_, h_ = (array.reshape(-1)[start : start + self.block].reshape(self.shape) for array in (w, g, h))
            blocks.append((w_, g_, h_, scratch[: w_.size].reshape(self.shape)))

        def run() -> None:
            if status != 0:
                return
            rate, friction = float(learning_rate) * op.multiplier, float(momentum)
            if op.fault and not all(self.stays_finite(*block, rate, friction) for block in blocks):
                status[...] = op.fault
                return
            for w, g, h, step in blocks:
                self.step(w, g, rate, step)
                np.multiply(h, friction, out=h)
                np.add(h, step, out=h)
                np.subtract(w, h, out=w)
                if op.constraint is not None:
                    np.copyto(w, op.constraint.project(np, w))

        return run

    def step(self, w: Array, g: Array, rate: float, out: Array) -> None:
        """The learning rate times the regularized gradient."""
        penalty = None if self.regularizer is None else self.regularizer.gradient(np, w)
        if penalty is None:
            np.multiply(g, rate, out=out)
        else:
            np.multiply(penalty, self.op.regu_coef, out=out)
            np.add(out, g, out=out)
            np.multiply(out, rate, out=out)

    def stays_finite(self, w: Array, g: Array, h: Array, step: Array, rate: float, friction: float) -> bool:
        """Whether the update would give finite numbers. Sums of squares mostly tell, at a fraction of its cost."""
        op = self.op
        if self.linear and max(abs(rate) * self.steepness, friction) < MODERATE:
            parts = (array.reshape(-1) for array in (g, h, w))
            if all(np.isfinite(np.dot(part, part)) for part in parts):
                return True
        self.step(w, g, rate, step)
        velocity = h * friction + step
        new = w - velocity
        if op.constraint is not None:
            new = op.constraint.project(np, new)
        return bool(np.isfinite(velocity).all() and np.isfinite(new).all())
