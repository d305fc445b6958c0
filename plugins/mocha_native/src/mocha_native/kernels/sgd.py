"""The update of stochastic gradient descent with momentum, in one pass."""

from __future__ import annotations

from mocha_native.update import UpdateKernel, update


class SGD(UpdateKernel):
    """The pass also computes the gradients of the standard regularizers."""

    entry = "sgd_forward"


sgd = update(SGD)
