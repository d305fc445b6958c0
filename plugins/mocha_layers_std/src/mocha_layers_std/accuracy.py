"""`AccuracyLayer` and its op: the share of labels that equal the class of the largest prediction."""

from __future__ import annotations

from math import prod

from mocha_core.api import Array, Builder, Layer, Namespace, Spec, Value
from mocha_layers_std import class_labels, fields
from mocha_layers_std.valid_rows import counted


class Accuracy(class_labels.ClassOp):
    """Adds the number of labels that equal the class of the largest prediction, and the number of labels, to `total`.

    Labels of the first `valid_rows` rows count. Of equal predictions the first is the largest. Inputs: prediction
    (N, classes, ...), int32 labels, cells valid_rows, status and total (2,). A label out of range puts
    `fault` into the status.
    """

    name = "accuracy"
    backward_reads = ()
    differentiable = ()
    updates = (3, 4)

    def infer(self, prediction: Spec, labels: Spec, valid_rows: Spec, status: Spec, total: Spec) -> tuple[Spec, ...]:
        class_labels.check_labels(prediction, labels)
        return ()

    def forward(
        self, xp: Namespace, prediction: Array, labels: Array, valid_rows: Array, status: Array, total: Array
    ) -> tuple[Array, ...]:
        guess = xp.argmax(prediction, axis=1, keepdims=True)
        right = xp.astype(guess, xp.int32) == class_labels.aligned(xp, labels, prediction)
        right = xp.logical_and(right, counted(xp, valid_rows, prediction))
        correct = xp.sum(xp.astype(right, total.dtype))
        count = xp.astype(valid_rows, total.dtype) * prod(prediction.shape[2:])
        return self.new_status(xp, prediction, labels, valid_rows, status), total + xp.stack([correct, count])


class AccuracyLayer(Layer):
    """The share of labels that equal the class of the largest prediction, averaged over an epoch.

    Bottoms: predictions (N, classes, ...) and labels, class indices 0, 1, 2, ... of any numeric dtype as
    (N,), (N, 1), (N, 1, 1, 1), or with positions (N, ...) or (N, 1, ...). It appears in `net.statistics()`
    as `<name>-accuracy`.
    """

    def check(self) -> None:
        fields.blobs(self, "prediction label")

    def build(self, b: Builder, *bottoms: Value) -> tuple[Value, ...]:
        total = b.statistic("accuracy", "Accuracy", percent=True)
        Accuracy.record(b, *bottoms, total)
        return ()
