"""Local response normalization, see csrc/kernels/lrn.h."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from mocha_core.kernel import Runnable
from mocha_core.layout import PLAIN, Layouts
from mocha_core.value import Spec
from mocha_native.compiled import Buffers, NativeKernel, floating

if TYPE_CHECKING:
    from mocha_core.plan import Call
    from mocha_native.backend import NativeBackend


class LRN(NativeKernel):
    """The workspace has, for each thread, what the windows of a row are made of."""

    #: Whether windows are squares in a plane.
    within: ClassVar[bool]

    def __init__(self, backend: NativeBackend, call: Call) -> None:
        super().__init__(backend, call)
        op, x = self.op, call.ins[0]
        layout, vectors = backend.blob_layout(x), backend.lanes[self.dtype]
        self.layouts = Layouts(ins=(layout,), outs=(layout,))
        channels, height, width = x.shape[1:]
        blocks = layout.physical(x.spec).shape[0]
        plain_planes = x.shape[0] * channels if layout is PLAIN and self.within else 0
        lanes = 1 if layout is PLAIN and not self.within else vectors.width
        if self.within:
            planes = -(-plain_planes // lanes) if plain_planes else blocks * channels
            rows, row = height, width * lanes
        else:
            planes, rows, row = blocks, channels, height * width * lanes
        wide = width if self.within else min(backend.isa.constants["lrn_piece"], -(-row // vectors.width))
        # Three rings, two rows, and the sums down; then the planes that become lanes.
        room = (3 * op.kernel * wide + 2 * wide + wide + 2 * (op.kernel - 1)) * vectors.width
        room += 3 * rows * row if plain_planes else 0
        self.forward_workspace = self.backward_workspace = (Spec((backend.threads, room), self.dtype),)
        self.sizes = [planes, rows, row, self.within, plain_planes, op.kernel]
        axes = 2 if self.within else 1
        self.numbers = [op.shift, op.scale / op.kernel**axes, op.power]

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        x, (y, room) = ins[0], outs
        return self.bind("lrn_forward", [x, y, room], [*self.sizes, False, room.shape[1]], self.numbers)

    def backward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        dy, x, (dx, room) = ins[0], ins[1], outs
        return self.bind("lrn_backward", [dy, x, dx, room], [*self.sizes, add[0], room.shape[1]], self.numbers)


class LRNWithinChannel(LRN):
    """Squares within each channel."""

    within = True


class LRNAcrossChannel(LRN):
    """Windows of channels."""

    within = False


within_channel = floating(LRNWithinChannel)
across_channel = floating(LRNAcrossChannel)
