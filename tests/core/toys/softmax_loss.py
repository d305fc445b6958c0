"""Toy softmax loss: a saved output (the probabilities), a status cell for labels, and valid rows."""

from __future__ import annotations

import numpy as np

from mocha_core.describe.layer import Layer
from mocha_core.graph.op import Op
from mocha_core.graph.structural import raise_status
from mocha_core.graph.value import Spec
from toys.labels import as_labels


class SoftmaxLoss(Op):
    name = "toy.softmax-loss"
    backward_reads = ("x1", "x2", "y1")
    updates = (3,)
    differentiable = (0,)
    saved = 1
    fault: int
    classes: int

    def infer(self, x, labels, valid, status):
        return Spec((), x.dtype), x

    def forward(self, xp, x, labels, valid, status):
        n, classes = x.shape
        counts = xp.arange(n, dtype=xp.int32) < valid
        inside = xp.logical_and(labels >= 0, labels < classes)
        fine = xp.all(xp.logical_or(inside, xp.logical_not(counts)))
        e = xp.exp(x - xp.max(x, axis=1, keepdims=True))
        p = e / xp.sum(e, axis=1, keepdims=True)
        logs = xp.log(xp.sum(p * self._one_hot(xp, labels, p), axis=1) + xp.astype(xp.logical_not(inside), x.dtype))
        loss = -xp.sum(xp.where(counts, logs, xp.zeros_like(logs))) / xp.astype(valid, x.dtype)
        return loss, p, raise_status(xp, status, fine, self.fault)

    def backward(self, xp, dy, x, y, wanted):
        _, labels, valid, _ = x
        p = y[1]
        counts = xp.expand_dims(xp.arange(p.shape[0], dtype=xp.int32) < valid, axis=1)
        d = dy[0] * (p - self._one_hot(xp, labels, p)) / xp.astype(valid, p.dtype)
        return xp.where(counts, d, xp.zeros_like(d)), None, None, None

    def _one_hot(self, xp, labels, p):
        classes = xp.arange(p.shape[1], dtype=xp.int32)
        return xp.astype(xp.expand_dims(labels, axis=1) == classes, p.dtype)

    def explain(self, x, labels, valid, status):
        bad = [] if labels is None else np.unique(labels[(labels < 0) | (labels >= self.classes)])
        return f"expected labels 0 to {self.classes - 1}, received {', '.join(map(str, bad)) or 'others'}."


class SoftmaxLossLayer(Layer):
    weight: float = 1.0

    def build(self, b, x, label):
        op = SoftmaxLoss(b.fault_code(), x.shape[1])
        (loss,) = b.call(op, x, as_labels(b, label), b.valid_rows(x, label), b.cell("status"))
        b.loss(loss, self.weight)
        return (loss,) if self.tops else ()
