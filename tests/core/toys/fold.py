"""A fusion that folds the SGD update of an inner product's weight into the computation of its gradient.

The rewrite is careless on purpose: it never asks whether it may. That is the core's business.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mocha_core.compile.kernel import Kernel
from mocha_core.compile.layout import Layouts
from mocha_core.graph.op import Op
from mocha_core.graph.plan import Call, Half, Section, forward_step
from toys.blocked import store
from toys.lanes import LANES


class DotSgd(Op):
    """(dy, x, w, h, rate, momentum, status) to (dx?, db), and new w, h and status."""

    name = "toy.dot+sgd"
    updates = (2, 3, 6)
    sgd: Op

    def infer(self, *x):
        raise NotImplementedError("made by a rewrite only")

    def forward(self, xp, *x):
        raise NotImplementedError("has a kernel only")


def rewrite(graph, root):
    w, gradient, h, *cells = root.ins
    writers = [s for s in graph.writers(gradient) if s.key == ("toy.dot", Half.BACKWARD)]
    if not writers:
        return None
    dot = writers[-1]
    ins = (dot.ins[0], dot.call.ins[0], w, h, *cells)
    outs = (dot.outs[0], dot.outs[2], *root.outs)
    call = Call(DotSgd(root.call.op), ins, outs, dot.call.layer)
    add = (dot.add[0], dot.add[2], *root.add)
    return [dot, root], replace(forward_step(call, Section.BACKWARD), add=add)


class FoldedDot(Kernel):
    layouts = Layouts(ins=(LANES, LANES), outs=(LANES,))

    def __init__(self, op):
        self.sgd = op.sgd

    def forward(self, ins, outs, add):
        d, x, w, h, *cells = ins
        x = x.reshape(x.shape[0], -1, x.shape[-1])
        dx, db, *updated = outs

        def run():
            store(dx, None if dx is None else np.einsum("bml,md->bdl", d, w).reshape(dx.shape), add[0])
            store(db, d.sum(axis=(0, 2)), add[1])
            gradient = np.einsum("bml,bdl->md", d, x)
            for out, new in zip(updated, self.sgd.forward(np, w, gradient, h, *cells), strict=True):
                out[...] = new

        return run


def build(backend, call):
    return FoldedDot(call.op)
