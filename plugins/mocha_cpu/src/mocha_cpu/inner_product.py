"""Inner product: three matrix products."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from mocha_core.api import Kernel, Runnable, Spec
from mocha_cpu.arrays import Buffers, Steps, view

if TYPE_CHECKING:
    from mocha_core.api import Backend, Call


class InnerProduct(Kernel):
    """The workspace holds a gradient before it is added."""

    def __init__(self, backend: Backend, call: Call) -> None:
        largest = max(value.spec.size for value in call.ins)
        self.backward_workspace = (Spec((largest,), call.ins[0].dtype),)

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        (x, w, b), (y,) = ins, outs
        steps = Steps()
        steps.do(np.matmul, x.reshape(len(x), -1), w.T, out=y)
        steps.do(np.add, y, b, out=y)
        return steps

    def backward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        dy, x, w = ins[:3]
        dx, dw, db, scratch = outs
        flat = x.reshape(len(x), -1)
        steps = Steps()
        if dx is not None:
            out = dx.reshape(flat.shape)
            steps.give(np.matmul, dy, w, out=out, scratch=view(scratch, out.shape), add=add[0])
        if dw is not None:
            steps.give(np.matmul, dy.T, flat, out=dw, scratch=view(scratch, dw.shape), add=add[1])
        if db is not None:
            steps.give(np.add.reduce, dy, axis=0, out=db, scratch=view(scratch, db.shape), add=add[2])
        return steps
