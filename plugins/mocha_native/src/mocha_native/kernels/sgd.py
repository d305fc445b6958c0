"""The update of stochastic gradient descent with momentum, in one pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mocha_layers_std.regularizers import L1Regu, L2Regu, NoRegu

from mocha_core.api import Runnable, Spec
from mocha_native.compiled import Buffers, NativeKernel, Series

if TYPE_CHECKING:
    from mocha_core.api import Call
    from mocha_native.backend import NativeBackend


class SGD(NativeKernel):
    """The pass also computes the gradients of the standard regularizers."""

    forward_workspace = (Spec((1,), "int32"),)

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        before = outs[-1]
        status = self.bind("sgd_status", [ins[-1], before], serial=True)
        update = self.bind("sgd_forward", [*ins, before], [ins[0].size, self.op.fault], numbers(self.op))
        return Series(status, update)


def numbers(op: Any) -> list[float]:
    """The learning rate's multiplier, decay and sparsity."""
    regularizer = op.regularizer
    decay = 2 * op.regu_coef * regularizer.coefficient if type(regularizer) is L2Regu else 0.0
    sparsity = op.regu_coef * regularizer.coefficient if type(regularizer) is L1Regu else 0.0
    return [op.multiplier, decay, sparsity]


def sgd(backend: NativeBackend, call: Call) -> SGD | None:
    """Declines constraints, and regularizers of other plugins."""
    op: Any = call.op
    known = op.constraint is None and type(op.regularizer) in (type(None), NoRegu, L1Regu, L2Regu)
    return SGD(backend, call) if known else None
