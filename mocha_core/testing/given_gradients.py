"""A net with given gradients, for tests of solvers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mocha_core.describe.builder import Builder
from mocha_core.describe.layer import TrainableLayer
from mocha_core.describe.parameter import Constraint, Initializer, Regularizer
from mocha_core.graph.array_api import Array, Arrays, Gradients, Namespace
from mocha_core.graph.op import Op
from mocha_core.graph.value import Spec, Value
from mocha_core.net.net import Net
from mocha_core.net.system import System
from mocha_core.testing.inputs import distinct
from mocha_core.testing.surrounding_layers import InputLayer

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Weigh(Op):
    """The mean over rows of the sum of x * w: its gradient of w is the mean row of x."""

    name = "mocha.testing.weigh"
    backward_reads = ("x0",)
    differentiable = (1,)

    def infer(self, x: Spec, w: Spec) -> tuple[Spec, ...]:
        return (Spec((), x.dtype),)

    def forward(self, xp: Namespace, x: Array, w: Array) -> Array:
        return xp.sum(xp.mean(x, axis=0) * w)

    def backward(self, xp: Namespace, dy: Arrays, x: Arrays, y: Arrays, wanted: Sequence[bool]) -> Gradients:
        return None, dy[0] * xp.mean(x[0], axis=0)


class Given(Initializer):
    """Fixed numbers."""

    def __init__(self, array: NDArray[Any]) -> None:
        self.array = array

    def initialize(self, shape: tuple[int, ...], random: np.random.Generator) -> NDArray[Any]:
        return self.array


class WeighLayer(TrainableLayer):
    """A layer with one parameter, whose gradient is the mean row of its bottom."""

    start: Any = None
    options: Any = None

    def build(self, b: Builder, x: Value) -> tuple[Value, ...]:
        w = b.param("weight", x.shape[1:], Given(self.start), **(self.options or {}))
        b.loss(b.call(Weigh(), x, w)[0])
        return ()


class Box(Constraint):
    """Limits every element to [-limit, limit]."""

    def __init__(self, limit: float) -> None:
        self.limit = limit

    def project(self, xp: Namespace, w: Array) -> Array:
        return xp.minimum(xp.maximum(w, -self.limit), self.limit)


class Squares(Regularizer):
    """|w|**2."""

    def gradient(self, xp: Namespace, w: Array) -> Array:
        return 2 * w


#: The first contents of parameters.
START = distinct((3, 4), 1)
#: The gradients of successive updates.
GRADIENTS = [distinct((3, 4), 10 + i) for i in range(8)]


def steered(
    system: System,
    gradients: Sequence[NDArray[Any]] = GRADIENTS,
    *,
    batch: int = 1,
    start: NDArray[Any] = START,
    name: str = "layer",
    keys: Mapping[str, str] | None = None,
    **options: Any,
) -> Net:
    """A net whose parameter `weight` gets these gradients, one for each minibatch of one row.

    Args:
        system: the system of the net.
        gradients: one for each row of data.
        batch: rows in a minibatch, over which the gradients are averaged.
        start: the parameter's first contents.
        name: the name of the net's layer.
        keys: the names of the layers and their `param_key`, if there are several layers.
        options: options of the parameter: regularizer, constraint, multiplier.
    """
    data = InputLayer(name="data", tops=["gradient"], batch_size=batch, arrays=(np.stack(gradients),))
    layers = [
        WeighLayer(name=layer, param_key=key, start=start, options=options, bottoms=["gradient"])
        for layer, key in (keys or {name: ""}).items()
    ]
    return Net("steered", system, [data, *layers])
