"""The update of stochastic gradient descent with momentum, in one pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mocha_layers_std.regularizers import L1Regu, L2Regu, NoRegu

from mocha_core.kernel import Runnable
from mocha_native.compiled import Buffers, NativeKernel

if TYPE_CHECKING:
    from mocha_core.plan import Call
    from mocha_native.backend import NativeBackend


class SGD(NativeKernel):
    """The standard regularizers' gradients are part of the pass."""

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        op, regularizer = self.op, self.op.regularizer
        decay = 2 * op.regu_coef * regularizer.coefficient if type(regularizer) is L2Regu else 0.0
        sparsity = op.regu_coef * regularizer.coefficient if type(regularizer) is L1Regu else 0.0
        return self.bind("sgd_forward", ins, [ins[0].size, op.fault], [op.multiplier, decay, sparsity])


def sgd(backend: NativeBackend, call: Call) -> SGD | None:
    """Declines constraints, and regularizers of others."""
    op: Any = call.op
    known = op.constraint is None and type(op.regularizer) in (type(None), NoRegu, L1Regu, L2Regu)
    return SGD(backend, call) if known else None
