"""Max and mean pooling, over images and over channels, see csrc/kernels/pooling.cu."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, prod
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from mocha_core.api import Runnable
from mocha_cuda.compiled import Buffers, CUDAKernel, served
from mocha_cuda.divide import by

if TYPE_CHECKING:
    from mocha_layers_std.windows import Windows

    from mocha_core.api import Call
    from mocha_cuda.backend import CUDABackend

#: Kernel and stride of square windows that have their own kernels.
COMMON = ((2, 2), (3, 2))


class Axis(NamedTuple):
    """Windows along one axis, as `axis` in csrc/kernels/pooling.cu."""

    size: int
    number: int
    kernel: int
    stride: int
    pad: int
    part: float
    last: float

    @classmethod
    def of(cls, windows: Windows) -> Axis:
        """Only the last window may have another divisor than the kernel."""
        size, number, kernel, stride, pad, _ = windows
        return cls(size, number, kernel, stride, pad, 1 / kernel, 1 / windows.divisor(number - 1))


class Pooling(CUDAKernel):
    """Windows that slide over planes. For a maximum, the index of the winner is an output."""

    family = "pooling"
    rectifies = masks_bottom = masks_top = True
    #: The kernels' name, whether there are winners, and whether the rows of planes are channels.
    kind: ClassVar[str]
    has_winners: ClassVar[bool]
    over_channels: ClassVar[bool] = False

    def __init__(self, backend: CUDABackend, call: Call) -> None:
        super().__init__(backend, call)
        self.down, self.across = map(Axis.of, self.op.planes(call.ins[0].shape))
        self.planes = prod(call.ins[0].shape) // (self.down.size * self.across.size)
        windows = {(axis.kernel, axis.stride) for axis in (self.down, self.across)}
        #: The elements of a cell in each direction, and the suffix of the kernels for them.
        self.cell, self.suffix = 1, ""
        # Otherwise there could be more cells than elements, and more than an int can count.
        if len(windows) == 1 and windows <= set(COMMON) and all(a.size > a.pad for a in (self.down, self.across)):
            kernel, self.cell = windows.pop()
            self.suffix = f"_{kernel}_{self.cell}"

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        return self.rectified(ins, outs, add, -inf)

    def rectified(self, ins: Buffers, outs: Buffers, add: Sequence[bool], floor: float) -> Runnable:
        down, across = self.down, self.across
        n = self.planes * down.number * across.number
        return self.bind(
            f"{self.kind}_forward{self.suffix}",
            *(ins[0], outs[0], outs[1] if self.has_winners else None, n),
            *(*down, *across, self.over_channels, by(down.number), by(across.number)),
            *(-inf if self.has_winners else 0.0, floor),
            threads=n,
        )

    def backward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        return self.unpooled(ins, outs, add)

    def bottom_masked(self, ins: Buffers, outs: Buffers, add: Sequence[bool], mask: Any, floor: float) -> Runnable:
        return self.unpooled(ins, outs, add, bottom=mask, floor=floor)

    def top_masked(self, ins: Buffers, outs: Buffers, add: Sequence[bool], mask: Any, floor: float) -> Runnable:
        return self.unpooled(ins, outs, add, top=mask, floor=floor)

    def unpooled(
        self, ins: Buffers, outs: Buffers, add: Sequence[bool], top: Any = None, bottom: Any = None, floor: float = 0.0
    ) -> Runnable:
        """Binds backward, with a mask of `dy` or of the gradient."""
        down, across = self.down, self.across
        rows, columns = (-(-(axis.size + (axis.pad if self.suffix else 0)) // self.cell) for axis in (down, across))
        n = self.planes * rows * columns
        return self.bind(
            f"{self.kind}_backward{self.suffix}",
            *(ins[0], ins[-1] if self.has_winners else None, top, bottom, outs[0], n),
            *(*down, *across, self.over_channels, rows, columns),
            *(by(rows), by(columns), by(down.stride), by(across.stride), floor, add[0]),
            threads=n,
        )


class MaxPooling(Pooling):
    """Winners are indices in the image."""

    kind = "max"
    has_winners = True


class MeanPooling(Pooling):
    """The divisor is the size of the window clipped to the padded image."""

    kind = "mean"
    has_winners = False


class MaxChannelPooling(MaxPooling):
    """Winners are channels."""

    over_channels = True


class MeanChannelPooling(MeanPooling):
    """The divisor is the same everywhere."""

    over_channels = True


max_pooling = served(MaxPooling)
mean_pooling = served(MeanPooling)
max_channel_pooling = served(MaxChannelPooling)
mean_channel_pooling = served(MeanChannelPooling)
