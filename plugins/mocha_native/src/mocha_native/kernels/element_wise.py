"""Arithmetic on two blobs of one shape."""

from __future__ import annotations

from collections.abc import Sequence

from mocha_core.api import Layouts, Runnable
from mocha_native.compiled import Buffers, NativeKernel, floating


class ElementWise(NativeKernel):
    """Add, subtract, multiply and divide."""

    layouts = Layouts(follow=True)
    in_chains = True

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        return self.bind(f"{self.op.name}_forward", [*ins, outs[0]], [outs[0].size])

    def backward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        return self.bind(f"{self.op.name}_backward", [*ins, *outs], [ins[0].size, *add])


element_wise = floating(ElementWise)
