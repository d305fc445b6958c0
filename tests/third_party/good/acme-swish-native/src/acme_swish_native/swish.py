"""Swish, compiled, for blobs in any layout."""

from collections.abc import Sequence

from mocha_native.api import Buffers, NativeKernel, floating

from acme_swish_native.library import LIBRARY
from mocha_core.api import Half, Layouts, Runnable


class CompiledSwish(NativeKernel):
    library = LIBRARY
    layouts = Layouts(follow=True)
    takes_epilogue = (Half.FORWARD,)

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        return self.bind("swish_forward", [ins[0], outs[0], self.epilogue], [outs[0].size], [self.op.beta])

    def backward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        (dy, x, _), dx = ins, outs[0]
        return self.bind("swish_backward", [dy, x, dx], [dx.size, add[0]], [self.op.beta])


build = floating(CompiledSwish)
