"""The update of stochastic gradient descent with momentum: all parameters of a program in one launch."""

from __future__ import annotations

from mocha_cuda.update import UpdateKernel, update


class SGD(UpdateKernel):
    """Of several faults it reports any one."""

    family, entry = "sgd", "sgd_forward"


sgd = update(SGD)
