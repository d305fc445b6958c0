"""Local response normalization, see csrc/kernels/lrn.h."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from mocha_core.api import Layouts, Runnable, Spec
from mocha_native.compiled import Buffers, NativeKernel, floating

if TYPE_CHECKING:
    from mocha_core.api import Call
    from mocha_native.backend import NativeBackend


class LRN(NativeKernel):
    """The workspace has, for each thread, the rows that the windows of one row cover."""

    #: Whether windows are squares within a channel.
    within: ClassVar[bool]

    def __init__(self, backend: NativeBackend, call: Call) -> None:
        super().__init__(backend, call)
        op, x, lanes = self.op, call.ins[0], backend.lanes[self.dtype]
        self.layouts = Layouts(ins=(lanes,), outs=(lanes,))
        blocks, channels, height, width, _ = lanes.physical(x.spec).shape
        if self.within:
            self.sizes = [blocks * channels, height, width, True, op.kernel]
            most = width
        else:
            self.sizes = [blocks, channels, height * width, False, op.kernel]
            most = min(height * width, backend.isa.constants["lrn_piece"])
        # Workspace: three ring buffers of `kernel` rows, and one row of column sums.
        room = (3 * op.kernel * most + most + 2 * (op.kernel - 1)) * lanes.width
        self.forward_workspace = self.backward_workspace = (Spec((backend.threads, room), self.dtype),)
        axes = 2 if self.within else 1
        self.numbers = [op.shift, op.scale / op.kernel**axes, op.power]

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        x, (y, room) = ins[0], outs
        return self.bind("lrn_forward", [x, y, room], [*self.sizes, False, room.shape[1]], self.numbers)

    def backward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        dy, x, (dx, room) = ins[0], ins[1], outs
        return self.bind("lrn_backward", [dy, x, dx, room], [*self.sizes, add[0], room.shape[1]], self.numbers)


class LRNWithinChannel(LRN):
    """Windows are squares within each channel."""

    within = True


class LRNAcrossChannel(LRN):
    """Windows are runs of neighbouring channels."""

    within = False


within_channel = floating(LRNWithinChannel)
across_channel = floating(LRNAcrossChannel)
