"""`SquareLossLayer` and its op: half the mean square distance."""

from __future__ import annotations

from collections.abc import Sequence

from mocha_core.api import Array, Arrays, Builder, Gradients, Layer, Namespace, Op, Spec, Value, checks
from mocha_layers_std import fields, received
from mocha_layers_std.valid_rows import counted


class SquareLoss(Op):
    """loss = 1 / (2 n) * sum of (prediction - label)**2 over all elements of the first n = `valid_rows` rows.

    The gradients are (prediction - label) / n and its negative; other rows get none. Inputs: prediction (N,
    ...), label of its shape, cell valid_rows.
    """

    name = "square_loss"
    backward_reads = ("x",)
    differentiable = (0, 1)

    def infer(self, prediction: Spec, label: Spec, valid_rows: Spec) -> tuple[Spec, ...]:
        received.rows(prediction)
        received.alike(prediction, label)
        return (Spec((), prediction.dtype),)

    def forward(self, xp: Namespace, prediction: Array, label: Array, valid_rows: Array) -> Array:
        difference = self._difference(xp, prediction, label, valid_rows)
        return xp.sum(xp.square(difference)) / (2 * xp.astype(valid_rows, prediction.dtype))

    def backward(self, xp: Namespace, dy: Arrays, x: Arrays, y: Arrays, wanted: Sequence[bool]) -> Gradients:
        prediction, label, valid_rows = x
        difference = self._difference(xp, prediction, label, valid_rows)
        gradient = difference * (dy[0] / xp.astype(valid_rows, prediction.dtype))
        return gradient, -gradient, None

    def _difference(self, xp: Namespace, prediction: Array, label: Array, valid_rows: Array) -> Array:
        """The difference, with zeros in the rows that do not count."""
        counts = counted(xp, valid_rows, prediction)
        return xp.where(counts, prediction - label, xp.zeros_like(prediction))


class SquareLossLayer(Layer):
    """Half the square of the distance between prediction and label, averaged over the samples.

    Bottoms: predictions and labels (N, ...), of shapes that are equal apart from axes of size 1. The loss sums the
    elements of a sample, and averages over samples.
    """

    weight: float = 1.0
    """The factor on the loss in the objective."""

    def check(self) -> None:
        fields.blobs(self, "prediction label")
        self.replace_field("weight", checks.number(self, "weight", self.weight))

    def build(self, b: Builder, *bottoms: Value) -> tuple[Value, ...]:
        prediction, label = bottoms
        if received.without_ones(label.shape[1:]) == received.without_ones(prediction.shape[1:]):
            label = b.view(label, prediction.shape)
        (loss,) = b.call(SquareLoss(), prediction, label, b.valid_rows(prediction, label))
        b.loss(loss, self.weight)
        return ()
