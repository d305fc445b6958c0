"""Inner product in lanes, forward and backward, with turned weights and a declared workspace."""

from __future__ import annotations

import numpy as np

from mocha_core.compile.kernel import Kernel
from mocha_core.graph.value import Spec
from toys.blocked import store
from toys.lanes import LANES


class BlockedDot(Kernel):
    def __init__(self, backend, call):
        self.layouts = backend.weighted
        y = call.outs[0]
        self.forward_workspace = (LANES.physical(Spec(y.shape, y.dtype)),)

    def forward(self, ins, outs, add):
        x, (w, b) = _features(ins[0]), ins[1:]
        y, scratch = outs

        def run():
            np.einsum("bdl,dm->bml", x, w, out=scratch)
            np.add(scratch, b[:, None], out=y)

        return run

    def backward(self, ins, outs, add):
        d, x, w = ins[0], _features(ins[1]), ins[2]

        def run():
            dx, dw, db = outs
            store(dx, None if dx is None else np.einsum("bml,dm->bdl", d, w).reshape(dx.shape), add[0])
            store(dw, np.einsum("bml,bdl->md", d, x), add[1])
            store(db, d.sum(axis=(0, 2)), add[2])

        return run


def _features(x):
    return x.reshape(x.shape[0], -1, x.shape[-1])


def build(backend, call):
    return BlockedDot(backend, call)
