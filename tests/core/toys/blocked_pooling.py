"""Max pooling in lanes; which element won is a saved output in lanes too."""

from __future__ import annotations

import numpy as np

from mocha_core.compile.kernel import Kernel
from mocha_core.compile.layout import Layouts
from toys.blocked import store
from toys.lanes import LANES


class BlockedPooling(Kernel):
    layouts = Layouts(ins=(LANES,), outs=(LANES, LANES))

    def __init__(self, k):
        self.k = k

    def forward(self, ins, outs, add):
        (x,), (y, winner), k = ins, outs, self.k
        b, c, height, width, lanes = x.shape
        windows = x.reshape(b, c, height // k, k, width // k, k, lanes).transpose(0, 1, 2, 4, 6, 3, 5)

        def run():
            flat = windows.reshape(*windows.shape[:5], k * k)
            y[...] = flat.max(axis=5)
            if winner is not None:
                winner[...] = flat.argmax(axis=5)

        return run

    def backward(self, ins, outs, add):
        d, winner, k = ins[0], ins[-1], self.k
        b, c, height, width, lanes = d.shape

        def run():
            spread = (winner[..., None] == np.arange(k * k)) * d[..., None]
            spread = spread.reshape(b, c, height, width, lanes, k, k).transpose(0, 1, 2, 5, 3, 6, 4)
            store(outs[0], spread.reshape(b, c, height * k, width * k, lanes), add[0])

        return run


def build(backend, call):
    return BlockedPooling(call.op.kernel)
