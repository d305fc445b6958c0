"""Sums, differences, products and quotients of two blobs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mocha_core.api import Kernel, Runnable
from mocha_cpu.arrays import Buffers, Steps

if TYPE_CHECKING:
    from mocha_core.api import Backend, Call


class ElementWise(Kernel):
    """A kernel whose forward is one NumPy function."""

    function: Any

    def __init__(self, backend: Backend, call: Call) -> None:
        self.backward_workspace = (call.outs[0].spec,)

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        steps = Steps()
        steps.do(self.function, ins[0], ins[1], out=outs[0])
        return steps


class Add(ElementWise):
    """y = a + b."""

    function = np.add

    def backward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        dy, (da, db, _) = ins[0], outs
        steps = Steps()
        for gradient, adds in ((da, add[0]), (db, add[1])):
            if gradient is not None:
                share(steps, dy, gradient, adds)
        return steps


class Subtract(ElementWise):
    """y = a - b."""

    function = np.subtract

    def backward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        dy, (da, db, _) = ins[0], outs
        steps = Steps()
        if da is not None:
            share(steps, dy, da, add[0])
        if db is not None and add[1]:
            steps.do(np.subtract, db, dy, out=db)
        elif db is not None:
            steps.do(np.negative, dy, out=db)
        return steps


class Multiply(ElementWise):
    """y = a * b; da = dy * b, db = dy * a."""

    function = np.multiply

    def backward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        (dy, a, b), (da, db, scratch) = ins[:3], outs
        steps = Steps()
        if da is not None:
            steps.give(np.multiply, dy, b, out=da, scratch=scratch, add=add[0])
        if db is not None:
            steps.give(np.multiply, dy, a, out=db, scratch=scratch, add=add[1])
        return steps


class Divide(ElementWise):
    """y = a / b; da = dy / b, db = -da * y."""

    function = np.divide

    def backward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        (dy, _, b, y), (da, db, scratch) = ins, outs
        steps = Steps()
        if da is not None:
            steps.give(np.divide, dy, b, out=da, scratch=scratch, add=add[0])
        if db is not None:
            steps.do(np.divide, dy, b, out=scratch)
            steps.do(np.multiply, scratch, y, out=scratch)
            if add[1]:
                steps.do(np.subtract, db, scratch, out=db)
            else:
                steps.do(np.negative, scratch, out=db)
        return steps


def share(steps: Steps, dy: Any, gradient: Any, add: bool) -> None:
    """Record that the gradient of the output is written or added to that of an input."""
    if add:
        steps.do(np.add, gradient, dy, out=gradient)
    else:
        steps.do(np.copyto, gradient, dy)
