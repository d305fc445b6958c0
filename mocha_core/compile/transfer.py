"""Kernels of the structural ops that move data: from the host into a program, and between layouts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from mocha_core.compile.kernel import Buffers, Kernel, Runnable
from mocha_core.compile.layout import PLAIN, Convert
from mocha_core.graph.plan import Call
from mocha_core.graph.structural import Fetch

if TYPE_CHECKING:
    from mocha_core.compile.backend import Backend


class FetchKernel(Kernel):
    """Copies the feed's next minibatch into the tops of a data layer."""

    splits = True

    def __init__(self, backend: Backend, call: Call) -> None:
        self.backend = backend
        self.op = cast(Fetch, call.op)

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        feed, batch, copy = self.op.feed, self.op.specs[0].shape[0], self.backend.copy_from_numpy

        def run() -> None:
            for out, array in zip(outs, feed.fetch(batch), strict=True):
                if out is not None:
                    copy(out, array)

        return run


class ConvertKernel(Kernel):
    """Packs a plain value, or unpacks one."""

    def __init__(self, backend: Backend, call: Call) -> None:
        self.backend = backend
        self.op = cast(Convert, call.op)

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        op, backend, (source,), (target,), (adds,) = self.op, self.backend, ins, outs, add
        if op.target is PLAIN:
            return lambda: op.source.unpack(backend, source, target, add=adds)
        return lambda: op.target.pack(backend, source, target, gradient=op.gradient, add=adds)
