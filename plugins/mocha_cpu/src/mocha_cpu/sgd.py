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

#: Elements; four arrays of them fit into a second-level cache.
BLOCK = 16384


class SGD(Kernel):
    """Computes new velocities block by block, and writes w and h in place.

    Where new values are checked, nothing is written before all of them are known to be finite; else each block is
    written at once. Constraints, and regularizers that are not element-wise, see the whole parameter.
    """

    def __init__(self, backend: Backend, call: Call) -> None:
        op: Any = call.op
        spec = call.ins[0].spec
        self.op = op
        self.regularizer = op.regularizer if op.regu_coef != 0 else None
        whole = op.constraint is not None or not getattr(self.regularizer, "element_wise", True)
        self.block = spec.size if whole else min(BLOCK, spec.size)
        self.shape = spec.shape if whole else (-1,)
        kept = spec.size if op.fault else self.block
        self.forward_workspace = (Spec((kept,), spec.dtype), Spec((self.block,), spec.dtype))

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        w, g, h, learning_rate, momentum, status = ins
        velocity, scratch = outs[-2:]
        op = self.op
        blocks = []
        for start in range(0, w.size, self.block):
            n = min(self.block, w.size - start)
            parts = [array.reshape(-1)[start : start + n] for array in (w, g, h)]
            parts += [velocity[start : start + n] if op.fault else velocity[:n], scratch[:n]]
            blocks.append([part.reshape(self.shape) for part in parts])

        def run() -> None:
            if status != 0:
                return
            rate, friction = float(learning_rate) * op.multiplier, float(momentum)
            for w, g, h, v, new in blocks:
                self._compute(w, g, h, v, new, rate, friction)
                if not op.fault:
                    self._write(w, h, v, new)
                elif not (_finite(new) and (op.constraint is None or _finite(v))):
                    status[...] = op.fault
                    return
            for w, _, h, v, new in blocks if op.fault else ():
                self._write(w, h, v, new)

        return run

    def _compute(self, w: Array, g: Array, h: Array, v: Array, new: Array, rate: float, momentum: float) -> None:
        """The new velocity v and, last, the new parameter."""
        penalty = None if self.regularizer is None else self.regularizer.gradient(np, w)
        if penalty is None:
            np.multiply(g, rate, out=v)
        else:
            np.multiply(penalty, self.op.regu_coef, out=v)
            np.add(v, g, out=v)
            np.multiply(v, rate, out=v)
        np.multiply(h, momentum, out=new)
        np.add(new, v, out=v)
        np.subtract(w, v, out=new)
        if self.op.constraint is not None:
            np.copyto(new, self.op.constraint.project(np, new))

    def _write(self, w: Array, h: Array, v: Array, new: Array) -> None:
        if self.op.constraint is None:
            np.subtract(w, v, out=w)
        else:
            np.copyto(w, new)
        np.copyto(h, v)


def _finite(x: Array) -> bool:
    """Whether all elements are finite. So they are if their sum is, which costs a fraction of a look at each."""
    return bool(np.isfinite(np.add.reduce(x, axis=None)) or np.isfinite(x).all())
