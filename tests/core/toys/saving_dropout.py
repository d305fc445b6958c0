"""A dropout kernel that keeps its own mask, of another dtype than the reference's, from forward to backward."""

from __future__ import annotations

import numpy as np

from mocha_core.compile.kernel import Kernel
from mocha_core.graph.random import uniform
from mocha_core.graph.value import Spec
from toys.blocked import store


class SavingDropout(Kernel):
    def __init__(self, call):
        self.op, self.shape = call.op, call.ins[0].shape
        self.saves = (Spec(self.shape, "bool"),)

    def forward(self, ins, outs, add):
        op, rows = self.op, self.shape[0]
        (x, iteration, row), (y, _, mask) = ins, outs

        def run():
            drawn = uniform(np, op.seed, op.stream, iteration, row, rows, x.size // rows)
            mask[...] = drawn.reshape(x.shape) >= op.ratio
            y[...] = x * (mask.astype(x.dtype) / (1 - op.ratio))

        return run

    def backward(self, ins, outs, add):
        d, mask, ratio = ins[0], ins[-1], self.op.ratio
        return lambda: store(outs[0], d * (mask.astype(d.dtype) / (1 - ratio)), add[0])


def build(backend, call):
    return SavingDropout(call)
