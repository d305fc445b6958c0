"""The standard neurons. Backward reads outputs only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from mocha_layers_std.neurons.lrelu import SLOPE

from mocha_core.api import Kernel, Runnable
from mocha_cpu.arrays import Array, Buffers, Steps

if TYPE_CHECKING:
    from mocha_core.api import Backend, Call


class Neuron(Kernel):
    """dx = dy times the slope of the function, which depends on y."""

    def __init__(self, backend: Backend, call: Call) -> None:
        self.op: Any = call.op
        self.backward_workspace = (call.ins[0].spec,)

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        steps = Steps()
        self.record(steps, ins[0], outs[0])
        return steps

    def backward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        (dy, _, y), (dx, scratch) = ins, outs
        steps = Steps()
        if dx is not None:
            slope = self.slope(steps, y, scratch)
            steps.give(np.multiply, dy, slope, out=dx, scratch=scratch, add=add[0])
        return steps

    def record(self, steps: Steps, x: Array, y: Array) -> None:
        """Record the computation of y from x."""
        raise NotImplementedError

    def slope(self, steps: Steps, y: Array, out: Array) -> Array:
        """Record the computation of the slope into `out`; return the array that holds it."""
        raise NotImplementedError


class ReLU(Neuron):
    """y = max(epsilon, x)."""

    def record(self, steps: Steps, x: Array, y: Array) -> None:
        steps.do(np.maximum, x, self.op.epsilon, out=y)

    def slope(self, steps: Steps, y: Array, out: Array) -> Array:
        steps.do(np.greater, y, self.op.epsilon, out=out)
        return out


class LReLU(Neuron):
    """y = x where x > 0, else 0.01 x."""

    def record(self, steps: Steps, x: Array, y: Array) -> None:
        steps.do(np.multiply, x, SLOPE, out=y)
        steps.do(np.maximum, x, y, out=y)

    def slope(self, steps: Steps, y: Array, out: Array) -> Array:
        steps.do(np.greater, y, 0, out=out)
        steps.do(np.maximum, out, SLOPE, out=out)
        return out


class Sigmoid(Neuron):
    """y = 1 / (1 + exp(-x))."""

    def record(self, steps: Steps, x: Array, y: Array) -> None:
        # Below this x, exp(-x) would overflow; y is the smallest normal number there.
        steps.do(np.maximum, x, float(np.log(np.finfo(x.dtype).tiny)), out=y)
        steps.do(np.negative, y, out=y)
        steps.do(np.exp, y, out=y)
        steps.do(np.add, y, 1, out=y)
        steps.do(np.reciprocal, y, out=y)

    def slope(self, steps: Steps, y: Array, out: Array) -> Array:
        steps.do(np.subtract, 1, y, out=out)
        steps.do(np.multiply, out, y, out=out)
        return out


class Tanh(Neuron):
    """y = tanh(x)."""

    def record(self, steps: Steps, x: Array, y: Array) -> None:
        steps.do(np.tanh, x, out=y)

    def slope(self, steps: Steps, y: Array, out: Array) -> Array:
        steps.do(np.square, y, out=out)
        steps.do(np.subtract, 1, out, out=out)
        return out


class Exponential(Neuron):
    """y = exp(x)."""

    def record(self, steps: Steps, x: Array, y: Array) -> None:
        steps.do(np.exp, x, out=y)

    def slope(self, steps: Steps, y: Array, out: Array) -> Array:
        return y
