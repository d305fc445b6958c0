"""A small net that uses every feature of the core, made of ops that only the kit has, and data that it can learn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mocha_core.describe.builder import Builder
from mocha_core.describe.layer import ComputationLayer, Layer, TrainableLayer
from mocha_core.describe.parameter import Regularizer
from mocha_core.graph.array_api import Array, Arrays, Gradients, Namespace
from mocha_core.graph.cells import Cell
from mocha_core.graph.op import Op
from mocha_core.graph.plan import Phase
from mocha_core.graph.random import uniform
from mocha_core.graph.structural import raise_status
from mocha_core.graph.value import Spec, Value
from mocha_core.testing.surrounding_layers import Drawn, InputLayer

if TYPE_CHECKING:
    from numpy.typing import NDArray

FEATURES = 6
CLASSES = 3


class Dense(Op):
    """y = x w + b."""

    name = "mocha.testing.dense"
    backward_reads = ("x0", "x1")

    def infer(self, x: Spec, w: Spec, b: Spec) -> tuple[Spec, ...]:
        return (Spec((x.shape[0], w.shape[1]), x.dtype),)

    def forward(self, xp: Namespace, x: Array, w: Array, b: Array) -> Array:
        return xp.matmul(x, w) + b

    def backward(self, xp: Namespace, dy: Arrays, x: Arrays, y: Arrays, wanted: Sequence[bool]) -> Gradients:
        transposed = [xp.permute_dims(array, (1, 0)) for array in x[:2]]
        return xp.matmul(dy[0], transposed[1]), xp.matmul(transposed[0], dy[0]), xp.sum(dy[0], axis=0)


class Ridge(Regularizer):
    """|w|**2."""

    def gradient(self, xp: Namespace, w: Array) -> Array:
        return 2 * w


class DenseLayer(TrainableLayer):
    """Flattens its bottom to (N, features); top (N, outputs). The bias learns twice as fast."""

    outputs: int = 4

    def build(self, b: Builder, x: Value) -> tuple[Value, ...]:
        features = x.spec.size // x.shape[0]
        flat = x if len(x.shape) == 2 else b.view(x, (x.shape[0], features))
        w = b.param("weight", (features, self.outputs), Drawn(3), regularizer=Ridge())
        return b.call(Dense(), flat, w, b.param("bias", (self.outputs,), Drawn(4), multiplier=2.0))


class Tanh(Op):
    """y = tanh x."""

    name = "mocha.testing.tanh"
    backward_reads = ("y",)

    def infer(self, x: Spec) -> tuple[Spec, ...]:
        return (x,)

    def forward(self, xp: Namespace, x: Array) -> Array:
        return xp.tanh(x)

    def backward(self, xp: Namespace, dy: Arrays, x: Arrays, y: Arrays, wanted: Sequence[bool]) -> Gradients:
        return (dy[0] * (1 - y[0] * y[0]),)


class TanhLayer(ComputationLayer):
    """The tanh of its bottom."""

    def build(self, b: Builder, x: Value) -> tuple[Value, ...]:
        return b.call(Tanh(), x)


class Mask(Op):
    """y = x * mask; the mask (saved) keeps half of the elements, chosen by the core's random numbers."""

    name = "mocha.testing.mask"
    backward_reads = ("y1",)
    differentiable = (0,)
    saved = 1
    seed: int
    stream: int

    def infer(self, x: Spec, iteration: Spec, first_row: Spec) -> tuple[Spec, ...]:
        return x, x

    def forward(self, xp: Namespace, x: Array, iteration: Array, first_row: Array) -> tuple[Array, Array]:
        rows, features = x.shape
        drawn = uniform(xp, self.seed, self.stream, iteration, first_row, rows, features)
        mask = 2 * xp.astype(drawn >= 0.5, x.dtype)
        return x * mask, mask

    def backward(self, xp: Namespace, dy: Arrays, x: Arrays, y: Arrays, wanted: Sequence[bool]) -> Gradients:
        return dy[0] * y[1], None, None


class MaskLayer(ComputationLayer):
    """Drops elements in the training phase; in the test phase its top is its bottom."""

    def build(self, b: Builder, x: Value) -> tuple[Value, ...]:
        if b.phase is Phase.TEST:
            return (x,)
        return b.call(Mask(b.seed, b.stream("mask")), x, b.cell(Cell.ITERATION), b.first_row(x))


class Product(Op):
    """y = a * b."""

    name = "mocha.testing.product"
    backward_reads = ("x",)

    def infer(self, a: Spec, b: Spec) -> tuple[Spec, ...]:
        return (a,)

    def forward(self, xp: Namespace, a: Array, b: Array) -> Array:
        return a * b

    def backward(self, xp: Namespace, dy: Arrays, x: Arrays, y: Arrays, wanted: Sequence[bool]) -> Gradients:
        return dy[0] * x[1], dy[0] * x[0]


class SquareLayer(ComputationLayer):
    """The product of its bottom with itself."""

    def build(self, b: Builder, x: Value) -> tuple[Value, ...]:
        return b.call(Product(), x, x)


class Centre(Op):
    """Updates the mean of all x so far, and the number of minibatches; returns x unchanged."""

    name = "mocha.testing.centre"
    backward_reads = ()
    differentiable = (0,)
    updates = (1, 2)

    def infer(self, x: Spec, mean: Spec, count: Spec) -> tuple[Spec, ...]:
        return (x,)

    def forward(self, xp: Namespace, x: Array, mean: Array, count: Array) -> tuple[Array, Array, Array]:
        return x, mean + (xp.mean(x, axis=0) - mean) / xp.astype(count + 1, x.dtype), count + 1

    def backward(self, xp: Namespace, dy: Arrays, x: Arrays, y: Arrays, wanted: Sequence[bool]) -> Gradients:
        return dy[0], None, None


class Subtract(Op):
    """y = x - mean."""

    name = "mocha.testing.subtract"
    backward_reads = ()
    differentiable = (0,)

    def infer(self, x: Spec, mean: Spec) -> tuple[Spec, ...]:
        return (x,)

    def forward(self, xp: Namespace, x: Array, mean: Array) -> Array:
        return x - mean


class CentreLayer(ComputationLayer):
    """Updates the mean of its bottom in the training phase, and subtracts it in the test phase."""

    def build(self, b: Builder, x: Value) -> tuple[Value, ...]:
        mean = b.state("mean", x.shape[1:], Drawn(None))
        if b.phase is Phase.TEST:
            return b.call(Subtract(), x, mean)
        return b.call(Centre(), x, mean, b.state("count", (), Drawn(None), dtype="int64"))


class Carry(Op):
    """y = x + carried; the next minibatch gets tanh y as `carried`."""

    name = "mocha.testing.carry"
    backward_reads = ()
    differentiable = (0,)
    updates = (1,)

    def infer(self, x: Spec, carried: Spec) -> tuple[Spec, ...]:
        return (x,)

    def forward(self, xp: Namespace, x: Array, carried: Array) -> tuple[Array, Array]:
        return x + carried, xp.tanh(x + carried)

    def backward(self, xp: Namespace, dy: Arrays, x: Arrays, y: Arrays, wanted: Sequence[bool]) -> Gradients:
        return dy[0], None


class CarryLayer(ComputationLayer):
    """Adds to each row the carried state of the minibatch before."""

    def build(self, b: Builder, x: Value) -> tuple[Value, ...]:
        return b.call(Carry(), x, b.state("carried", x.shape[1:], Drawn(8), per_row=True))


class Indices(Op):
    """Class indices as int32."""

    name = "mocha.testing.indices"
    differentiable = ()

    def infer(self, x: Spec) -> tuple[Spec, ...]:
        return (Spec(x.shape, "int32"),)

    def forward(self, xp: Namespace, x: Array) -> Array:
        return xp.astype(x, xp.int32)


def indices(b: Builder, label: Value) -> Value:
    """Labels as class indices, with which readers can describe a wrong label."""
    (found,) = b.call(Indices(), label)
    found.keep = True
    return found


class CrossEntropy(Op):
    """The mean of -log softmax(x) at the labels of the first `valid_rows` rows; saved: softmax(x)."""

    name = "mocha.testing.cross_entropy"
    backward_reads = ("x1", "x2", "y1")
    differentiable = (0,)
    updates = (3,)
    saved = 1
    fault: int

    def infer(self, x: Spec, labels: Spec, valid_rows: Spec, status: Spec) -> tuple[Spec, ...]:
        return Spec((), x.dtype), x

    def forward(self, xp: Namespace, x: Array, labels: Array, valid_rows: Array, status: Array) -> tuple[Array, ...]:
        e = xp.exp(x - xp.max(x, axis=1, keepdims=True))
        p = e / xp.sum(e, axis=1, keepdims=True)
        counts = xp.arange(x.shape[0], dtype=xp.int32) < valid_rows
        inside = xp.logical_and(labels >= 0, labels < x.shape[1])
        fine = xp.all(xp.logical_or(inside, xp.logical_not(counts)))
        chosen = xp.sum(xp.where(self._at(xp, labels, p), p, xp.zeros_like(p)), axis=1)
        logs = xp.log(xp.where(xp.logical_and(inside, counts), chosen, xp.full_like(chosen, 1.0)))
        return -xp.sum(logs) / xp.astype(valid_rows, x.dtype), p, raise_status(xp, status, fine, self.fault)

    def backward(self, xp: Namespace, dy: Arrays, x: Arrays, y: Arrays, wanted: Sequence[bool]) -> Gradients:
        labels, valid_rows, p = x[1], x[2], y[1]
        counts = xp.expand_dims(xp.arange(p.shape[0], dtype=xp.int32) < valid_rows, axis=1)
        d = dy[0] * (p - xp.astype(self._at(xp, labels, p), p.dtype)) / xp.astype(valid_rows, p.dtype)
        return xp.where(counts, d, xp.zeros_like(d)), None, None, None

    def _at(self, xp: Namespace, labels: Array, p: Array) -> Array:
        return xp.expand_dims(labels, axis=1) == xp.arange(p.shape[1], dtype=xp.int32)

    def explain(self, *x: Array) -> str:
        return f"expected labels 0 to {CLASSES - 1}, received {np.asarray(x[1]).tolist()}."


class CrossEntropyLayer(Layer):
    """Bottoms: scores (N, classes) and labels (N,)."""

    def build(self, b: Builder, x: Value, label: Value) -> tuple[Value, ...]:
        op = CrossEntropy(b.fault_code())
        b.loss(b.call(op, x, indices(b, label), b.valid_rows(x, label), b.cell(Cell.STATUS))[0])
        return ()


class Hits(Op):
    """Adds to the total how many scores are highest at the label, and how many there are."""

    name = "mocha.testing.hits"
    differentiable = ()
    updates = (3,)

    def infer(self, x: Spec, labels: Spec, valid_rows: Spec, total: Spec) -> tuple[Spec, ...]:
        return ()

    def forward(self, xp: Namespace, x: Array, labels: Array, valid_rows: Array, total: Array) -> Array:
        right = xp.astype(xp.argmax(x, axis=1), xp.int32) == labels
        right = xp.logical_and(right, xp.arange(x.shape[0], dtype=xp.int32) < valid_rows)
        return total + xp.stack([xp.sum(xp.astype(right, xp.float64)), xp.astype(valid_rows, xp.float64)])


class HitsLayer(Layer):
    """Bottoms: scores (N, classes) and labels (N,)."""

    def build(self, b: Builder, x: Value, label: Value) -> tuple[Value, ...]:
        total = b.statistic("accuracy", "Accuracy", percent=True)
        b.call(Hits(), x, indices(b, label), b.valid_rows(x, label), total)
        return ()


def rows(count: int, seed: int = 5) -> tuple[NDArray[Any], NDArray[Any]]:
    """Images (count, 2, 3) and their labels (count,), which can be learned."""
    images = np.random.default_rng(seed).standard_normal((count, 2, FEATURES // 2))
    return images, images[:, 0].argmax(axis=1).astype(np.int32)


def data(count: int = 20, batch: int = 6, arrays: Sequence[NDArray[Any]] | None = None) -> InputLayer:
    """A data layer of `rows`, whose last minibatch in an epoch is not full."""
    chosen = rows(count) if arrays is None else tuple(arrays)
    return InputLayer(name="data", tops=("data", "label"), batch_size=batch, arrays=chosen)


def body() -> list[Layer]:
    """From "data" to "scores".

    They include a view, a blob that one op reads twice and two layers read, layers that work in place, two tied layers,
    one that drops elements, one that updates a mean in states, and one that carries rows to the next minibatch.
    """
    return [
        DenseLayer(name="first", outputs=5, bottoms=["data"], tops=["first"]),
        TanhLayer(name="squash", bottoms=["first"], tops=["first"]),
        SquareLayer(name="square", bottoms=["first"], tops=["square"]),
        DenseLayer(name="tied 1", outputs=5, param_key="tied", bottoms=["square"], tops=["tied 1"]),
        TanhLayer(name="between", bottoms=["tied 1"], tops=["between"]),
        DenseLayer(name="tied 2", outputs=5, param_key="tied", bottoms=["between"], tops=["tied 2"]),
        MaskLayer(name="mask", bottoms=["tied 2"], tops=["masked"]),
        CentreLayer(name="centre", bottoms=["masked"], tops=["masked"]),
        CarryLayer(name="carry", bottoms=["masked"], tops=["masked"]),
        DenseLayer(name="scores", outputs=CLASSES, bottoms=["masked"], tops=["scores"]),
        DenseLayer(name="side", outputs=CLASSES, bottoms=["first"], tops=["side"]),
    ]


def heads() -> list[Layer]:
    """Two losses, and the accuracy of "scores"."""
    return [
        CrossEntropyLayer(name="loss", bottoms=["scores", "label"]),
        CrossEntropyLayer(name="side loss", bottoms=["side", "label"]),
        HitsLayer(name="accuracy", bottoms=["scores", "label"]),
    ]
