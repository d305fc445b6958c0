"""`MultinomialLogisticLossLayer` and its op: the negative logarithm of the label's probability."""

from __future__ import annotations

from collections.abc import Sequence

from mocha_core.api import Array, Arrays, Builder, Gradients, Layer, Namespace, Spec, Value, checks
from mocha_layers_std import class_labels, fields
from mocha_layers_std.valid_rows import counted

#: The least probability; smaller ones count as this, so that the loss stays finite.
SMALLEST = 1e-20


def negative_log_likelihood(xp: Namespace, probability: Array, labels: Array, valid_rows: Array) -> Array:
    """-1/P sum of log(max(p, 1e-20)) over the P labels that count, p being the probability at the label."""
    one_hot = class_labels.one_hot(xp, labels, probability)
    at_label = xp.sum(xp.where(one_hot, probability, xp.zeros_like(probability)), axis=1, keepdims=True)
    loss = -xp.log(xp.maximum(at_label, SMALLEST))
    counts = counted(xp, valid_rows, probability)
    total = xp.sum(xp.where(counts, loss, xp.zeros_like(loss)))
    return total / class_labels.positions_counted(xp, valid_rows, probability)


class MultinomialLogisticLoss(class_labels.ClassOp):
    """loss = -1/P sum over labels of log(max(p, 1e-20)), p being the given probability at the label.

    P counts the labels of the first `valid_rows` rows; other rows do not count, and have no gradient. The gradient
    is -1 / (P max(p, 1e-20)) at the label, zero at other classes. Inputs: probabilities (N, classes, ...),
    int32 labels, cells valid_rows and status. A label out of range puts `fault` into the status.
    """

    name = "multinomial_logistic_loss"
    backward_reads = ("x0", "x1", "x2")
    updates = (3,)

    def infer(self, probability: Spec, labels: Spec, valid_rows: Spec, status: Spec) -> tuple[Spec, ...]:
        class_labels.check_labels(probability, labels)
        return (Spec((), probability.dtype),)

    def forward(
        self, xp: Namespace, probability: Array, labels: Array, valid_rows: Array, status: Array
    ) -> tuple[Array, ...]:
        loss = negative_log_likelihood(xp, probability, labels, valid_rows)
        return loss, self.new_status(xp, probability, labels, valid_rows, status)

    def backward(self, xp: Namespace, dy: Arrays, x: Arrays, y: Arrays, wanted: Sequence[bool]) -> Gradients:
        probability, labels, valid_rows, _ = x
        counts = counted(xp, valid_rows, probability)
        there = xp.logical_and(class_labels.one_hot(xp, labels, probability), counts)
        scale = -dy[0] / class_labels.positions_counted(xp, valid_rows, probability)
        gradient = scale / xp.maximum(probability, SMALLEST)
        return (xp.where(there, gradient, xp.zeros_like(gradient)), None, None, None)


class MultinomialLogisticLossLayer(Layer):
    """The negative logarithm of the probability that its first bottom gives to the label in its second.

    Bottoms: probabilities (N, classes, ...), such as those of a `SoftmaxLayer`, and labels, class indices 0,
    1, 2, ... of any numeric dtype as (N,), (N, 1), (N, 1, 1, 1), or with positions (N, ...) or (N, 1, ...).
    """

    weight: float = 1.0
    """The factor on the loss in the objective."""

    def check(self) -> None:
        fields.blobs(self, "probability label")
        self.replace_field("weight", checks.number(self, "weight", self.weight))

    def build(self, b: Builder, *bottoms: Value) -> tuple[Value, ...]:
        (loss,) = MultinomialLogisticLoss.record(b, *bottoms)
        b.loss(loss, self.weight)
        return ()
