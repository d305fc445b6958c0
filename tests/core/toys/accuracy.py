"""Toy accuracy: a statistic over an epoch, in a cell that the op updates."""

from __future__ import annotations

from mocha_core.describe.layer import Layer
from mocha_core.graph.op import Op
from toys.labels import as_labels


class Accuracy(Op):
    name = "toy.accuracy"
    updates = (3,)
    differentiable = ()

    def infer(self, x, labels, valid, total):
        return ()

    def forward(self, xp, x, labels, valid, total):
        right = xp.astype(xp.argmax(x, axis=1), xp.int32) == labels
        right = xp.logical_and(right, xp.arange(x.shape[0], dtype=xp.int32) < valid)
        return total + xp.stack([xp.sum(xp.astype(right, xp.float64)), xp.astype(valid, xp.float64)])


class AccuracyLayer(Layer):
    def build(self, b, x, label):
        total = b.statistic("accuracy", "Accuracy", percent=True)
        b.call(Accuracy(), x, as_labels(b, label), b.valid_rows(x, label), total)
        return ()
