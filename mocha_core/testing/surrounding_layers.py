"""Layers around a layer under test: its inputs, and an objective that depends on all its tops."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mocha_core.describe.builder import Builder
from mocha_core.describe.layer import DataLayer, Layer
from mocha_core.describe.parameter import Initializer
from mocha_core.describe.source import Source
from mocha_core.graph.array_api import Array, Namespace
from mocha_core.graph.op import Op
from mocha_core.graph.value import Spec, Value

if TYPE_CHECKING:
    from numpy.typing import NDArray


class ArraySource(Source):
    """Rows of arrays."""

    def __init__(self, arrays: Sequence[NDArray[Any]], fixed: bool) -> None:
        self.arrays = arrays
        self.fixed = fixed
        self.rows = len(arrays[0])
        self.specs = tuple(Spec(array.shape[1:], str(array.dtype)) for array in arrays)

    def fetch(self, rows: NDArray[np.int64], epoch: int, out: Sequence[NDArray[Any]]) -> None:
        for array, target in zip(self.arrays, out, strict=True):
            target[...] = array[rows]


class InputLayer(DataLayer):
    """A data layer with one minibatch, the same in every run."""

    arrays: Sequence[Any] = ()
    fixed: bool = True
    """Whether the arrays never change after the net has run."""

    def open(self, seed: int) -> ArraySource:
        return ArraySource(self.arrays, self.fixed)


class Drawn(Initializer):
    """Standard normal numbers, whose first rows do not depend on the number of rows; or, without a seed, zeros."""

    def __init__(self, seed: int | None) -> None:
        self.seed = seed

    def initialize(self, shape: tuple[int, ...], random: np.random.Generator) -> NDArray[Any] | None:
        return None if self.seed is None else np.random.default_rng(self.seed).standard_normal(shape)


class Shift(Op):
    """y = x + offset."""

    name = "mocha.testing.shift"
    backward_reads = ()

    def infer(self, x: Spec, offset: Spec) -> tuple[Spec, ...]:
        return (x,)

    def forward(self, xp: Namespace, x: Array, offset: Array) -> Array:
        return x + offset

    def backward(self, xp: Namespace, dy: Any, x: Any, y: Any, wanted: Any) -> tuple[Array | None, ...]:
        return dy[0], dy[0]


class OffsetLayer(Layer):
    """Adds a parameter of zeros to its bottom. Its gradient is the blob's, and setting it shifts the blob."""

    def build(self, b: Builder, x: Value) -> tuple[Value, ...]:
        return b.call(Shift(), x, b.param("offset", x.shape, Drawn(None)))


class Project(Op):
    """The sum of x * weights over the first `valid_rows` rows."""

    name = "mocha.testing.project"
    backward_reads = ("x1", "x2")
    differentiable = (0,)

    def infer(self, x: Spec, weights: Spec, valid_rows: Spec) -> tuple[Spec, ...]:
        return (Spec((), x.dtype),)

    def forward(self, xp: Namespace, x: Array, weights: Array, valid_rows: Array) -> Array:
        return xp.sum(x * self._counted(xp, weights, valid_rows))

    def backward(self, xp: Namespace, dy: Any, x: Any, y: Any, wanted: Any) -> tuple[Array | None, ...]:
        return dy[0] * self._counted(xp, x[1], x[2]), None, None

    def _counted(self, xp: Namespace, weights: Array, valid_rows: Array) -> Array:
        rows = xp.arange(weights.shape[0], dtype=xp.int32) < valid_rows
        counts = xp.reshape(rows, (weights.shape[0],) + (1,) * (len(weights.shape) - 1))
        return xp.where(counts, weights, xp.zeros_like(weights))


class ProjectionLayer(Layer):
    """Adds a random projection of its bottom to the objective."""

    seed: int = 0

    def build(self, b: Builder, x: Value) -> tuple[Value, ...]:
        if x.dtype == b.dtype:
            weights = b.state("weights", x.shape, Drawn(self.seed))
            b.loss(b.call(Project(), x, weights, b.valid_rows(x))[0])
        return ()
