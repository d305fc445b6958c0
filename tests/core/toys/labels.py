"""Toy labels: class indices of any numeric dtype, recorded once for all who read them; a fraction is a fault."""

from __future__ import annotations

import numpy as np

from mocha_core.graph.cells import Cell
from mocha_core.graph.op import Op
from mocha_core.graph.structural import raise_status
from mocha_core.graph.value import Spec


class Labels(Op):
    name = "toy.labels"
    updates = (1,)
    differentiable = ()
    fault: int

    def infer(self, x, status):
        return (Spec(x.shape, "int32"),)

    def forward(self, xp, x, status):
        whole = x == xp.round(x)
        labels = xp.astype(xp.where(whole, x, xp.zeros_like(x)), xp.int32)
        return labels, raise_status(xp, status, xp.all(whole), self.fault)

    def explain(self, x, status):
        bad = x[x != np.round(x)]
        return f"expected labels to be whole numbers 0, 1, 2, ..., received {bad[0]}."


def as_labels(b, x):
    def record():
        (labels,) = b.call(Labels(b.fault_code()), x, b.cell(Cell.STATUS))
        labels.keep = True
        return labels

    x.root.keep = True
    return x if x.dtype == "int32" else b.once((Labels.name, x), record)
