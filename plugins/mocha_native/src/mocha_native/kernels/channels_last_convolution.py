"""Convolution of few images, see csrc/kernels/channels_last_convolution.h."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import inf, prod
from typing import TYPE_CHECKING, NamedTuple

from mocha_core.api import PLAIN, Layouts, Runnable, Spec
from mocha_native.channels_last import SLOWER, ChannelsLast, SmallKernel, packed_filters, small
from mocha_native.compiled import Buffers, Compiled, Series

if TYPE_CHECKING:
    from mocha_core.api import Call
    from mocha_native.backend import NativeBackend

#: Kernels read images of up to this many channels, such as those of a data layer, in their plain layout.
FEW_CHANNELS = 4
#: Convolutions of single pixels join rows until they have at least so many.
LINE = 48
#: What packing filters and their gradients costs in training for each element, in multiply-adds of vectors.
PACK = 10


class Phase(NamedTuple):
    """The pixels of an axis of x that meet the same taps of filters, in a convolution of dy.

    Attributes:
        taps, pixels: how many there are.
        start: the first pixel.
        over: how far before dy the first pixel's taps begin; negative: how far behind its begin.
    """

    taps: int
    pixels: int
    start: int
    over: int


def phases(size: int, taps: int, stride: int, pad: int) -> list[Phase]:
    """The phases of an axis: pixels start, start + stride, ... meet taps r, r + stride, ... in reverse order."""
    found = []
    for r in range(stride):
        some, first = len(range(r, taps, stride)), -((r - pad) // stride)
        start = stride * first + r - pad
        found.append(Phase(some, len(range(start, size, stride)), start, some - 1 - first))
    return found


def joined(rows: int, columns: int) -> list[int]:
    """Rows and columns of an image of the same pixels, in the same order, whose rows are longer if they are short."""
    factor = next((n for n in range(1, rows + 1) if rows % n == 0 and n * columns >= LINE), rows)
    return [rows // factor, factor * columns]


class SmallConvolution(SmallKernel):
    """Workspaces hold images as rows that filters read, and the packed gradient of the filters.

    Attributes:
        rows, convolution: arguments of the C kernels for forward; `whole`: where y has the results.
        top_rows, phases: the same for the gradient of x, which is a convolution of dy for each phase.
        as_it_is: whether x already has the layout of its rows.
    """

    rectifies = True

    def __init__(self, backend: NativeBackend, call: Call, layout: ChannelsLast) -> None:
        super().__init__(backend, call, layout)
        (images, channels, *size), (_, filters, *top_size) = call.ins[0].shape, call.outs[0].shape
        (kw, kh), (sw, sh), (pw, ph), groups = self.op.kernel, self.op.stride, self.op.pad, self.op.n_group
        inputs, outputs = channels // groups, filters // groups
        self.plain = channels <= FEW_CHANNELS
        if (kh, kw, sh, sw, ph, pw) == (1, 1, 1, 1, 0, 0) and not self.plain:
            # Of which image a pixel is makes no difference.
            images, size, top_size = 1, *[joined(images * size[0], size[1])] * 2
        # The part that is read of the padded image.
        read = tuple((n - 1) * s + k for n, s, k in zip(top_size, (sh, sw), (kh, kw), strict=True))
        depth = 1 if self.plain else self.padded(channels)
        self.as_it_is = channels == depth and groups == 1 and (ph, pw) == (0, 0) and read == tuple(size)
        self.rows = [images, channels, *size, groups, *read, ph, pw, 0 if self.plain else depth, inputs]
        self.convolution = [images, groups, *read, inputs, outputs, kh, kw, sh, sw, *top_size, self.padded(filters)]
        self.whole = [*top_size, 0, 0, 1, 1, 0, 0, kh * kw, 0]
        # If there is one result, the stride has no effect, and may be larger than any image.
        vertical, horizontal = (s if n > 1 else 1 for s, n in zip((sh, sw), top_size, strict=True))
        axes = phases(size[0], kh, vertical, ph), phases(size[1], kw, horizontal, pw)
        before = [max(p.over for p in axis) for axis in axes]
        ends = [[p.pixels + p.taps - 1 - p.over for p in axis] for axis in axes]
        top_read = [max(0, b + max(end)) for b, end in zip(before, ends, strict=True)]
        top = [images, filters, *top_size, groups]
        self.top_rows = [*top, *top_read, *before, self.padded(filters), outputs]
        self.phases, done = [], 0
        for row, column in product(*axes):
            taps, count = (row.taps, column.taps), (row.pixels, column.pixels)
            sizes = [images, groups, *top_read, outputs, inputs, *taps, 1, 1, *count, self.padded(channels)]
            places = [
                *size,
                row.start,
                column.start,
                vertical,
                horizontal,
                before[0] - row.over,
                before[1] - column.over,
            ]
            self.phases.append((sizes, [*places, kh * kw, done]))
            done += prod(taps)
        # With several groups, dy is copied so that the channels of each group begin a vector.
        room = self.padded(outputs)
        self.top_groups = [*top, *top_size, 0, 0, self.padded(filters), room]
        self.filters = [groups, outputs, inputs, kh, kw, 1, 1]
        block = backend.isa.constants["channels_last_block"] * layout.width
        forward = packed_filters(layout.width, block, groups, False)
        backward = packed_filters(layout.width, block, groups, True, (vertical, horizontal))
        first = PLAIN if self.plain else layout
        self.layouts = Layouts(
            ins=(first, forward, PLAIN),
            outs=(layout,),
            gradients=(layout, PLAIN, PLAIN),
            backward_ins=(first, backward, PLAIN),
        )
        rows = Spec((images, groups, *read, inputs), self.dtype)
        top_rows = Spec((images, groups, *top_read, outputs), self.dtype)
        top_groups = Spec((images, groups, *top_size, room) if groups > 1 else (0,), self.dtype)
        self.forward_workspace = () if self.as_it_is else (rows,)
        self.backward_workspace = (rows, top_rows, top_groups, forward.physical(call.ins[1].spec))

    def cost(self, trains: bool) -> float:
        images, groups, *_, inputs, outputs, kh, kw, _, _, height, width, _ = self.convolution
        pairs = inputs * self.padded(outputs) + (outputs * self.padded(inputs) + inputs * self.padded(outputs)) * trains
        products: float = SLOWER * images * groups * height * width * kh * kw * pairs / self.layout.width
        return products + PACK * self.call.ins[1].spec.size * trains

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        return self.rectified(ins, outs, add, -inf)

    def rectified(self, ins: Buffers, outs: Buffers, add: Sequence[bool], floor: float) -> Runnable:
        (x, w, b), y, sizes = ins, outs[0], [*self.convolution, 0, *self.whole]
        if self.as_it_is:
            return self.bind("channels_last_convolution", [x, w, b, y], sizes, [floor])
        rows = outs[1]
        return Series(
            self.bind("image_rows", [x, rows], self.rows),
            self.bind("channels_last_convolution", [rows, w, b, y], sizes, [floor]),
        )

    def backward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        (dy, x, w), (dx, dw, db, rows, top_rows, top_groups, packed) = ins[:3], outs
        images, groups, top_size, top_depth = *self.convolution[:2], self.convolution[10:12], self.convolution[12]
        lay_out: list[Compiled] = []
        parts: list[Compiled] = []
        if dx is not None:
            lay_out.append(self.bind("image_rows", [dy, top_rows], self.top_rows, meets=False))
            for sizes, places in self.phases:
                buffers = [top_rows, w, None, dx]
                parts.append(
                    self.bind("channels_last_convolution", buffers, [*sizes, add[0], *places], [-inf], meets=False)
                )
        if dw is not None:
            if self.as_it_is:
                rows = x
            else:
                lay_out.append(self.bind("image_rows", [x, rows], self.rows, meets=False))
            top, room = dy, top_depth
            if groups > 1:
                top, room = top_groups, top_groups.shape[-1]
                lay_out.append(self.bind("image_rows", [dy, top], self.top_groups, meets=False))
            sizes = [*self.convolution[:12], room]
            parts.append(self.bind("channels_last_filter_gradient", [rows, top, packed], sizes))
            back = [*self.filters, False, add[1]]
            parts.append(self.bind("channels_last_filters_back", [dw, packed], back, meets=False))
        if db is not None:
            sizes = [images * prod(top_size), db.size, top_depth, add[2]]
            parts.append(self.bind("channels_last_bias_gradient", [dy, db], sizes, meets=False))
        for stage in (lay_out, parts):
            if stage:
                stage[-1].meets = True
        return Series(*lay_out, *parts)


convolution = small(SmallConvolution)
