"""A step in Python between backward and the updates, as a plugin for training in several processes records it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mocha_core import hookimpl
from mocha_core.compile.kernel import Kernel
from mocha_core.graph.op import Op

#: From the gradients and the status: the new gradients, and whether another process has a fault.
Share = Callable[[Sequence[Any], int], tuple[Sequence[Any], bool]]


class Exchange(Op):
    """Replaces the gradients. If another process has a fault, and this one has none, the status becomes `fault`."""

    name = "toy.exchange"
    differentiable = ()
    share: Share
    fault: int
    count: int

    @property
    def updates(self):
        return tuple(range(self.count + 1))

    def infer(self, *x):
        return ()

    def explain(self, *x):
        return "another process has a fault."


class ExchangeKernel(Kernel):
    """Runs on the host: it splits compiled programs."""

    splits = True

    def __init__(self, backend, call):
        self.backend, self.op = backend, call.op

    def forward(self, ins, outs, add):
        *gradients, status = ins
        read, write = self.backend.to_numpy, self.backend.copy_from_numpy

        def run():
            before = int(read(status))
            shared, faulty = self.op.share([np.array(read(gradient)) for gradient in gradients], before)
            for gradient, array in zip(gradients, shared, strict=True):
                write(gradient, array)
            if faulty and before == 0:
                write(status, np.asarray(self.op.fault))

        return run


class Exchanging:
    """A plugin that records the step for any solver. When it does, `begin` returns the function of the exchange."""

    def __init__(self, begin: Callable[[], Share]) -> None:
        self.begin = begin

    @hookimpl
    def mocha_register_kernels(self, kernels):
        kernels.add(Exchange.name, "*", ExchangeKernel)

    @hookimpl
    def mocha_record_exchange(self, b, solver, parameters):
        op = Exchange(self.begin(), b.fault_code(), len(parameters))
        b.exchange(op, *map(b.gradient, parameters), b.cell("status"))
