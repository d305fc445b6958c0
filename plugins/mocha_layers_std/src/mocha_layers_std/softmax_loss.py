"""`SoftmaxLossLayer` and its op: softmax over the classes, and the multinomial logistic loss of it."""

from __future__ import annotations

from collections.abc import Sequence

from mocha_core.api import Array, Arrays, Builder, Gradients, Layer, Namespace, Spec, Value, checks
from mocha_layers_std import class_labels, fields
from mocha_layers_std.multinomial_logistic_loss import negative_log_likelihood
from mocha_layers_std.softmax import softmax
from mocha_layers_std.valid_rows import counted


class SoftmaxLoss(class_labels.ClassOp):
    """loss = -1/P sum over labels of log(max(p, 1e-20)), p = softmax(prediction) at the label.

    P counts the labels of the first `valid_rows` rows; other rows do not count, and have no gradient. The gradient
    is (p - onehot) / P. Inputs: prediction (N, classes, ...), int32 labels, cells valid_rows and status.
    Outputs: the loss, without axes; saved: p. A label out of range puts `fault` into the status.
    """

    name = "softmax_loss"
    backward_reads = ("y1", "x1", "x2")
    updates = (3,)
    saved = 1

    def infer(self, prediction: Spec, labels: Spec, valid_rows: Spec, status: Spec) -> tuple[Spec, ...]:
        class_labels.check_labels(prediction, labels)
        return Spec((), prediction.dtype), prediction

    def forward(
        self, xp: Namespace, prediction: Array, labels: Array, valid_rows: Array, status: Array
    ) -> tuple[Array, ...]:
        probability = softmax(xp, prediction)
        loss = negative_log_likelihood(xp, probability, labels, valid_rows)
        return loss, probability, self.new_status(xp, probability, labels, valid_rows, status)

    def backward(self, xp: Namespace, dy: Arrays, x: Arrays, y: Arrays, wanted: Sequence[bool]) -> Gradients:
        probability, labels, valid_rows = y[1], x[1], x[2]
        one_hot = xp.astype(class_labels.one_hot(xp, labels, probability), probability.dtype)
        scale = dy[0] / class_labels.positions_counted(xp, valid_rows, probability)
        counts = counted(xp, valid_rows, probability)
        gradient = (probability - one_hot) * scale
        return (xp.where(counts, gradient, xp.zeros_like(gradient)), None, None, None)


class SoftmaxLossLayer(Layer):
    """The multinomial logistic loss of the softmax of its first bottom, for the labels in its second.

    Bottoms: predictions (N, classes, ...) and labels, class indices 0, 1, 2, ... of any numeric dtype as
    (N,), (N, 1), (N, 1, 1, 1), or with positions (N, ...) or (N, 1, ...).
    """

    weight: float = 1.0
    """The factor on the loss in the objective."""

    def check(self) -> None:
        fields.blobs(self, "prediction label")
        self.replace_field("weight", checks.number(self, "weight", self.weight))

    def build(self, b: Builder, *bottoms: Value) -> tuple[Value, ...]:
        (loss,) = SoftmaxLoss.record(b, *bottoms)
        b.loss(loss, self.weight)
        return ()
