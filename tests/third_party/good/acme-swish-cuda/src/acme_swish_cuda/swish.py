"""Swish, of kernels that NVRTC compiles for the device at the first use."""

from collections.abc import Sequence
from pathlib import Path

from mocha_cuda.api import Buffers, CUDAKernel, served

from mocha_core.api import Runnable


class CUDASwish(CUDAKernel):
    family = Path(__file__).with_name("swish.cu")

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        n = outs[0].size
        return self.bind("swish_forward", ins[0], outs[0], n, float(self.op.beta), threads=n)

    def backward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        (dy, x, _), dx = ins, outs[0]
        return self.bind("swish_backward", dy, x, dx, dx.size, float(self.op.beta), add[0], threads=dx.size)


build = served(CUDASwish)
