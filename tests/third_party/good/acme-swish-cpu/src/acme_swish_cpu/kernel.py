"""Swish on the cpu backend, without temporary arrays; in float32 only."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mocha_core.api import Backend, Call, Kernel, Runnable


class Swish(Kernel):
    def __init__(self, call: Call, beta: float) -> None:
        self.beta = beta
        self.forward_workspace = (call.ins[0].spec,)
        self.backward_workspace = (call.ins[0].spec,) * 2

    def forward(self, ins: Sequence[Any], outs: Sequence[Any], add: Sequence[bool]) -> Runnable:
        (x,), (y, s) = ins, outs

        def run() -> None:
            self.sigmoid(x, s)
            np.multiply(x, s, out=y)

        return run

    def backward(self, ins: Sequence[Any], outs: Sequence[Any], add: Sequence[bool]) -> Runnable:
        (dy, x, _), (dx, s, scratch) = ins, outs

        def run() -> None:
            self.sigmoid(x, s)
            np.subtract(1.0, s, out=scratch)
            np.multiply(scratch, x, out=scratch)
            np.multiply(scratch, self.beta, out=scratch)
            np.add(scratch, 1.0, out=scratch)
            np.multiply(scratch, s, out=scratch)
            if add[0]:
                np.multiply(scratch, dy, out=scratch)
                np.add(dx, scratch, out=dx)
            else:
                np.multiply(scratch, dy, out=dx)

        return run

    def sigmoid(self, x: Any, out: Any) -> None:
        np.multiply(x, 0.5 * self.beta, out=out)
        np.tanh(out, out=out)
        np.multiply(out, 0.5, out=out)
        np.add(out, 0.5, out=out)


def build(backend: Backend, call: Call) -> Kernel | None:
    op: Any = call.op
    return Swish(call, op.beta) if call.ins[0].dtype == "float32" else None
