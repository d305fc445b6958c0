"""Max and mean pooling, over images and over channels, see csrc/kernels/pooling.h."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, prod
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from mocha_core.api import ITEMSIZE, Device, Layout, Layouts, Runnable, Spec
from mocha_native.compiled import Array, Buffers, NativeKernel, floating
from mocha_native.layout import Lanes, shared

if TYPE_CHECKING:
    from mocha_layers_std.windows import Windows

    from mocha_core.api import Call
    from mocha_native.backend import NativeBackend


class Places(Layout):
    """Winners in lanes, as positions in their windows, row by row.

    2**sharing neighbours in a row share a word, each with 8 bits.

    In the plain layout, a winner is an index in the image. With `channels`, the rows of the image are channels, and a
    winner is a row.
    """

    def __init__(self, down: Windows, across: Windows, channels: bool, width: int, sharing: int, dtype: str) -> None:
        self.across, self.channels, self.lanes, self.dtype = across, channels, Lanes(width), dtype
        self.windows = down.number, across.number
        self.words = -(-across.number >> sharing)
        self.shifts = 8 * np.arange(1 << sharing)
        rows, self.columns = (np.arange(axis.number) * axis.stride - axis.pad for axis in (down, across))
        self.rows = rows[:, np.newaxis]
        self.name = f"places in {down.kernel} x {across.kernel} by {self.lanes}"

    def blob(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of a plain blob of the words."""
        return (shape[0], prod(shape[1:]) // prod(self.windows), self.windows[0], self.words)

    def physical(self, spec: Spec) -> Spec:
        return self.lanes.physical(Spec(self.blob(spec.shape), self.dtype))

    def pack(self, backend: Device, plain: Array, packed: Array, *, gradient: bool, add: bool) -> None:
        index = plain.reshape(-1, *self.windows)
        row, column = (index, self.columns) if self.channels else np.divmod(index, self.across.size)
        place = np.zeros((*index.shape[:2], self.words * len(self.shifts)), self.dtype)
        place[..., : self.windows[1]] = (row - self.rows) * self.across.kernel + column - self.columns
        word = (place.reshape(*index.shape[:2], self.words, -1) << self.shifts).sum(-1).astype(self.dtype)
        self.lanes.pack(backend, word.reshape(self.blob(plain.shape)), packed, gradient=gradient, add=add)

    def unpack(self, backend: Device, packed: Array, plain: Array, *, add: bool) -> None:
        word = np.empty(self.blob(plain.shape), self.dtype)
        self.lanes.unpack(backend, packed, word, add=False)
        shared = word.reshape(-1, self.windows[0], self.words, 1) >> self.shifts
        place = (shared & 0xFF if len(self.shifts) > 1 else shared).reshape(*shared.shape[:2], -1)
        u, v = np.divmod(place[..., : self.windows[1]], self.across.kernel)
        row, column = u + self.rows, v + self.columns
        index = (row if self.channels else row * self.across.size + column).reshape(plain.shape)
        plain[...] = plain + index if add else index


#: Returns the same layout for the same pooling, because layouts are compared by identity.
places = shared(Places)


class Pooling(NativeKernel):
    """Windows that slide over planes. A maximum keeps the winners' places."""

    rectifies = masks_bottom = masks_top = True
    #: The function in C, whether it has winners, and whether the rows of planes are channels.
    function: ClassVar[str]
    has_places: ClassVar[bool]
    over_channels: ClassVar[bool] = False

    def __init__(self, backend: NativeBackend, call: Call) -> None:
        super().__init__(backend, call)
        x, lanes, constants = call.ins[0], backend.lanes[self.dtype], backend.isa.constants
        down, across = self.op.planes(x.shape)
        planes = prod(lanes.physical(x.spec).shape[:-1]) // (down.size * across.size)
        sharing = constants["places_sharing"] if down.kernel * across.kernel <= constants["byte_places"] else 0
        outs: tuple[Layout, ...] = (lanes,)
        if self.has_places:
            dtype = f"int{8 * ITEMSIZE[self.dtype]}"
            outs = lanes, places(down, across, self.over_channels, lanes.width, sharing, dtype)
        self.layouts = Layouts(ins=(lanes,), outs=outs)
        # The fields of `Windows` are those of mocha_axis.
        self.sizes = [planes, *down, *across, sharing]

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        return self.rectified(ins, outs, add, -inf)

    def rectified(self, ins: Buffers, outs: Buffers, add: Sequence[bool], floor: float) -> Runnable:
        winners = outs[1] if self.has_places else None
        return self.bind(f"{self.function}_forward", [ins[0], outs[0], winners], self.sizes, [floor])

    def backward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        return self.bound(ins, outs, add)

    def top_masked(self, ins: Buffers, outs: Buffers, add: Sequence[bool], mask: Array, floor: float) -> Runnable:
        return self.bound(ins, outs, add, top=mask, floor=floor)

    def bottom_masked(self, ins: Buffers, outs: Buffers, add: Sequence[bool], mask: Array, floor: float) -> Runnable:
        return self.bound(ins, outs, add, bottom=mask, floor=floor)

    def bound(
        self,
        ins: Buffers,
        outs: Buffers,
        add: Sequence[bool],
        top: Array | None = None,
        bottom: Array | None = None,
        floor: float = 0.0,
    ) -> Runnable:
        dy, winners = ins[0], ins[-1] if self.has_places else None
        sizes = [*self.sizes, add[0]]
        return self.bind(f"{self.function}_backward", [dy, winners, top, bottom, outs[0]], sizes, [floor])


class MaxPooling(Pooling):
    """Keeps the place of each maximum in its window, in one byte if that is enough."""

    function = "max_pooling"
    has_places = True


class MeanPooling(Pooling):
    """Keeps nothing."""

    function = "mean_pooling"
    has_places = False


class MaxChannelPooling(MaxPooling):
    """Winners are channels."""

    over_channels = True


class MeanChannelPooling(MeanPooling):
    """The divisor is the same everywhere."""

    over_channels = True


max_pooling = floating(MaxPooling)
mean_pooling = floating(MeanPooling)
max_channel_pooling = floating(MaxChannelPooling)
mean_channel_pooling = floating(MeanChannelPooling)
