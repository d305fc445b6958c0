"""The kernel that converts between layouts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from mocha_core.compile.device import Device
from mocha_core.compile.kernel import Buffers, Kernel, Runnable
from mocha_core.compile.layout import PLAIN, Convert
from mocha_core.graph.plan import Call


class ConvertKernel(Kernel):
    """Converts a plain value to a packed one, or back."""

    def __init__(self, backend: Device, call: Call) -> None:
        self.backend = backend
        self.op = cast(Convert, call.op)

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        op, backend, (source,), (target,), (adds,) = self.op, self.backend, ins, outs, add
        if op.target is PLAIN:
            return lambda: op.source.unpack(backend, source, target, add=adds)
        return lambda: op.target.pack(backend, source, target, gradient=op.gradient, add=adds)
