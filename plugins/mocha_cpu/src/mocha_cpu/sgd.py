"""The update of stochastic gradient descent with momentum, in one scratch buffer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mocha_core.kernel import Kernel, Runnable
from mocha_cpu.arrays import Buffers

if TYPE_CHECKING:
    from mocha_core.backend import Backend
    from mocha_core.plan import Call


class SGD(Kernel):
    """Writes w and h in place; regularizers and constraints are run as the pure functions they are."""

    def __init__(self, backend: Backend, call: Call) -> None:
        self.op: Any = call.op
        self.forward_workspace = (call.ins[0].spec,)

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        w, g, h, learning_rate, momentum, status = ins
        scratch = outs[-1]
        op = self.op
        regularizer = op.regularizer if op.regu_coef != 0 else None

        def run() -> None:
            if status != 0:
                return
            rate = float(learning_rate) * op.multiplier
            penalty = None if regularizer is None else regularizer.gradient(np, w)
            if penalty is None:
                np.multiply(g, rate, out=scratch)
            else:
                np.multiply(penalty, op.regu_coef, out=scratch)
                np.add(scratch, g, out=scratch)
                np.multiply(scratch, rate, out=scratch)
            np.multiply(h, float(momentum), out=h)
            np.add(h, scratch, out=h)
            np.subtract(w, h, out=w)
            if op.constraint is not None:
                np.copyto(w, op.constraint.project(np, w))

        return run
