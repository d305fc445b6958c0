"""The common base of losses and statistics over class labels.

Predictions are (N, classes, ...); labels have one class index for each sample and position, as (N, ...) or
with axes of size 1 anywhere after the first: (N, 1), (N, 1, 1, 1), (N, 1, height, width).
"""

from __future__ import annotations

from math import prod
from typing import ClassVar

import numpy as np

from mocha_core.api import Array, Builder, Cell, Namespace, Op, ShapeError, Spec, Value, raise_status
from mocha_layers_std import received
from mocha_layers_std.valid_rows import counted


class Labels(Op):
    """Converts class indices of any numeric dtype to int32. Sets the status cell if one is not a whole number."""

    name = "labels"
    updates = (1,)
    differentiable = ()
    fault: int

    def infer(self, x: Spec, status: Spec) -> tuple[Spec, ...]:
        return (Spec(x.shape, "int32"),)

    def forward(self, xp: Namespace, x: Array, status: Array) -> tuple[Array, Array]:
        whole = xp.logical_and(x == xp.round(x), xp.abs(x) < 2**31)
        labels = xp.astype(xp.where(whole, x, xp.zeros_like(x)), xp.int32)
        return labels, raise_status(xp, status, xp.all(whole), self.fault)

    def explain(self, *x: Array) -> str:
        bad = np.asarray([] if x[0] is None else x[0]).ravel()
        bad = bad[~((bad == np.round(bad)) & (np.abs(bad) < 2**31))]
        shown = "" if bad.size == 0 else f", received {bad[0]}"
        return f"expected labels to be whole numbers 0, 1, 2, ...{shown}. Check the data set's labels."


def as_labels(b: Builder, x: Value) -> Value:
    """Class indices as int32, converted from any numeric dtype; a fraction is a fault.

    The program keeps them through the run, so that an error can show them.
    """

    def record() -> Value:
        (labels,) = b.call(Labels(b.fault_code()), x, b.cell(Cell.STATUS))
        labels.keep = True
        return labels

    x.root.keep = True
    return x if x.dtype == "int32" else b.once((Labels.name, x), record)


class ClassOp(Op):
    """An op of (prediction, int32 labels, cells valid_rows and status, ...).

    Attributes:
        fault: the status if a label is not the index of a class.
        classes: the number of classes, for the error message; 0 if it is not known.
    """

    differentiable: ClassVar[tuple[int, ...] | None] = (0,)
    fault: int
    classes: int = 0

    @classmethod
    def record(cls, b: Builder, prediction: Value, label: Value, *more: Value) -> tuple[Value, ...]:
        """Record a use of the op on a layer's bottoms; returns its outputs."""
        received.features(prediction.spec)
        op = cls(b.fault_code(), prediction.shape[1])
        valid_rows = b.valid_rows(prediction, label)
        return b.call(op, prediction, as_labels(b, label), valid_rows, b.cell(Cell.STATUS), *more)

    def new_status(self, xp: Namespace, prediction: Array, labels: Array, valid_rows: Array, status: Array) -> Array:
        """The status cell after a check of the labels that count."""
        labels = aligned(xp, labels, prediction)
        right = xp.logical_and(labels >= 0, labels < prediction.shape[1])
        ignored = xp.logical_not(counted(xp, valid_rows, prediction))
        return raise_status(xp, status, xp.all(xp.logical_or(right, ignored)), self.fault)

    def explain(self, *x: Array) -> str:
        advice = f"expected labels 0 to {self.classes - 1}" if self.classes else "expected labels 0, 1, 2, ..."
        advice += ", one for each class of the prediction. Check the labels, or the layer that predicts."
        if x[1] is None or x[2] is None or not self.classes:
            return f"a label is out of range; {advice}"
        labels = np.asarray(x[1])[: int(x[2])]
        wrong = np.argwhere((labels < 0) | (labels >= self.classes))
        if len(wrong) and labels.min() >= 1 and labels.max() == self.classes:
            advice = (
                f"they seem to be counted from 1, but are 0 to {self.classes - 1} here: subtract 1 from all labels."
            )
        if len(wrong) == 0:
            return f"a label was out of range; {advice}"
        return f"label {labels[tuple(wrong[0])]} in row {wrong[0][0]} of the minibatch; {advice}"


def check_labels(prediction: Spec, labels: Spec) -> None:
    """Raise `ShapeError` unless there is one int32 label for each sample and position of the prediction."""
    received.features(prediction)
    n, _, *positions = prediction.shape
    fits = labels.shape[:1] == (n,) and received.without_ones(labels.shape[1:]) == received.without_ones(positions)
    if not fits:
        raise ShapeError(
            f"expected labels of shape {(n, *positions)} or {(n, 1, *positions)}, the index of a class for each "
            f"prediction of {prediction}; received shape {labels.shape}. Take the argmax(1) of one-hot labels."
        )
    if labels.dtype != "int32":
        raise ShapeError(
            f"expected int32 labels, received {labels}. Record the op with ClassOp.record, which casts them."
        )


def aligned(xp: Namespace, labels: Array, prediction: Array) -> Array:
    """The labels as (N, 1, ...), the axes of the prediction."""
    return xp.reshape(labels, (prediction.shape[0], 1, *prediction.shape[2:]))


def positions_counted(xp: Namespace, valid_rows: Array, prediction: Array) -> Array:
    """The number of labels that count, in the prediction's dtype."""
    return xp.astype(valid_rows, prediction.dtype) * prod(prediction.shape[2:])


def one_hot(xp: Namespace, labels: Array, prediction: Array) -> Array:
    """Booleans of the prediction's shape: True where the class is that of the label."""
    axes = len(prediction.shape)
    classes = xp.arange(prediction.shape[1], dtype=xp.int32)
    return aligned(xp, labels, prediction) == xp.reshape(classes, (1, -1) + (1,) * (axes - 2))
