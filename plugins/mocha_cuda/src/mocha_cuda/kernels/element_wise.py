"""Arithmetic on two blobs of one shape."""

from __future__ import annotations

from collections.abc import Sequence

from mocha_core.api import Runnable
from mocha_cuda.compiled import Buffers, CUDAKernel, served


class ElementWise(CUDAKernel):
    """Add, subtract, multiply and divide."""

    family = "element_wise"

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        n = outs[0].size
        return self.bind(f"{self.op.name}_forward", *ins, outs[0], n, threads=n)

    def backward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        n = ins[0].size
        return self.bind(f"{self.op.name}_backward", *ins, *outs, n, *add, threads=n)


element_wise = served(ElementWise)
