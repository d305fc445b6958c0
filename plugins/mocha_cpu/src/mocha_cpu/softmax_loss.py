"""Softmax and multinomial logistic loss in one."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING, cast

import numpy as np
from mocha_layers_std.multinomial_logistic_loss import SMALLEST

from mocha_core.api import Kernel, Runnable, Spec
from mocha_cpu import softmax
from mocha_cpu.arrays import Array, Buffers, Steps

if TYPE_CHECKING:
    from mocha_layers_std.softmax_loss import SoftmaxLoss as Op

    from mocha_core.api import Backend, Call


class SoftmaxLoss(Kernel):
    """Reads only the probabilities of the labels, and never beyond the classes."""

    def __init__(self, backend: Backend, call: Call) -> None:
        self.fault = cast("Op", call.op).fault
        x = call.ins[0].spec
        n, self.classes = x.shape[:2]
        self.positions = prod(x.shape[2:])
        #: The index of class 0 in the flat prediction, for each sample and position.
        self.starts = np.arange(n)[:, np.newaxis] * self.classes * self.positions + np.arange(self.positions)
        wrong, index, picked = (Spec(self.starts.shape, dtype) for dtype in ("bool", "int64", x.dtype))
        self.forward_workspace = (x, softmax.reduced(x), wrong, index, picked)
        self.backward_workspace = (x, wrong, index)

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        x, labels, valid_rows, _ = ins
        loss, probability, status, scratch, reduced, wrong, index, picked = outs
        # Without a backward half no step reads the probabilities, and they have no buffer.
        probability = scratch if probability is None else probability
        labels, flat = labels.reshape(self.starts.shape), probability.reshape(-1)
        probabilities = Steps()
        softmax.record(probabilities, x, probability, reduced)

        def run() -> None:
            probabilities()
            n = int(valid_rows)
            p = picked[:n]
            np.take(flat, self.locate(labels, n, wrong, index), out=p, mode="clip")
            if wrong[:n].any():
                p[wrong[:n]] = 0
                if status == 0:
                    status[...] = self.fault
            np.maximum(p, SMALLEST, out=p)
            np.log(p, out=p)
            loss[...] = -np.add.reduce(p, axis=None) / max(1, n * self.positions)

        return run

    def backward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        dy, labels, valid_rows, probability = ins[0], ins[4], ins[5], ins[8]
        dx, (scratch, wrong, index) = outs[0], outs[4:]
        labels, adds = labels.reshape(self.starts.shape), add[0]
        gradient = scratch if adds else dx
        flat = gradient.reshape(-1)

        def run() -> None:
            n = int(valid_rows)
            scale = float(dy) / max(1, n * self.positions)
            np.multiply(probability[:n], scale, out=gradient[:n])
            where = self.locate(labels, n, wrong, index)
            flat[where[~wrong[:n]]] -= scale
            if adds:
                np.add(dx[:n], gradient[:n], out=dx[:n])
            else:
                gradient[n:] = 0

        return run

    def locate(self, labels: Array, n: int, wrong: Array, index: Array) -> Array:
        """The indices of the first n rows' labels in the flat prediction, and which labels are no class."""
        # Negative labels are large when read as unsigned.
        np.greater_equal(labels[:n].view(np.uint32), self.classes, out=wrong[:n])
        np.multiply(labels[:n], np.int64(self.positions), out=index[:n])
        np.add(index[:n], self.starts[:n], out=index[:n])
        return index[:n]
