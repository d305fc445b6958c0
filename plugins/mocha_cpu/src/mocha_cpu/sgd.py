"""The update of stochastic gradient descent with momentum, in blocks that stay in the cache."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mocha_core.api import Kernel, Runnable, Spec
from mocha_cpu.arrays import Array, Buffers

if TYPE_CHECKING:
    from mocha_core.api import Backend, Call

#: The number of elements of a block. With smaller blocks the calls of NumPy take longer than the computation.
BLOCK = 32768


class SGD(Kernel):
    """Computes new values block by block, and writes the finite ones to w and h.

    It calls regularizers and constraints as pure functions. Constraints, and regularizers that are not element-wise,
    get the whole parameter.
    """

    def __init__(self, backend: Backend, call: Call) -> None:
        op: Any = call.op
        self.op = op
        self.regularizer = op.regularizer if op.regu_coef != 0 else None
        spec = call.ins[0].spec
        whole = op.constraint is not None or not (self.regularizer is None or self.regularizer.element_wise)
        self.block = spec.size if whole else min(BLOCK, spec.size)
        self.shape = spec.shape if whole else (-1,)
        self.forward_workspace = (Spec((self.block,), spec.dtype),) * 2

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        w, g, h, learning_rate, momentum, status = ins
        op, flat = self.op, [array.reshape(-1) for array in (w, g, h)]
        blocks = []
        for start in range(0, w.size, self.block):
            parts = [array[start : start + self.block] for array in flat]
            parts += [scratch[: parts[0].size] for scratch in outs[-2:]]
            blocks.append([part.reshape(self.shape) for part in parts])

        def run() -> None:
            if status != 0:
                return
            rate, friction = float(learning_rate) * op.multiplier, float(momentum)
            for w, g, h, velocity, new in blocks:
                self.step(w, g, rate, velocity)
                np.multiply(h, friction, out=new)
                np.add(velocity, new, out=velocity)
                np.subtract(w, velocity, out=new)
                if op.constraint is not None:
                    np.copyto(new, op.constraint.project(np, new))
                if op.fault and not (finite(new) and (op.constraint is None or finite(velocity))):
                    status[...] = op.fault
                    return
                np.copyto(h, velocity)
                np.copyto(w, new)

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


def finite(x: Array) -> bool:
    """Whether all elements are finite. A finite sum of their squares shows it in a fraction of the time."""
    flat = x.reshape(-1)
    return bool(np.isfinite(np.dot(flat, flat)) or np.isfinite(flat).all())
