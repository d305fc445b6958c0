"""Convolution of few images, see csrc/kernels/channels_last_convolution.h."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import TYPE_CHECKING

from mocha_core.kernel import Runnable
from mocha_core.layout import PLAIN, Layouts
from mocha_core.value import Spec
from mocha_native.channels_last import ChannelsLast, SmallKernel, packed_filters, small
from mocha_native.compiled import Buffers, Series

if TYPE_CHECKING:
    from mocha_core.plan import Call
    from mocha_native.backend import NativeBackend

#: Images of so few channels, such as those of a data layer, are read as they are.
FEW_CHANNELS = 4


class SmallConvolution(SmallKernel):
    """The workspace holds the image as rows that filters read."""

    rectifies = True

    def __init__(self, backend: NativeBackend, call: Call, layout: ChannelsLast) -> None:
        super().__init__(backend, call, layout)
        x = call.ins[0]
        (_, filters, height, width), (images, channels, *size) = call.outs[0].shape, x.shape
        (kw, kh), (sw, sh), (pw, ph), groups = self.op.kernel, self.op.stride, self.op.pad, self.op.n_group
        self.plain = channels <= FEW_CHANNELS
        # What of the padded image is read; and whether the blob lies like that already.
        read = ((height - 1) * sh + kh, (width - 1) * sw + kw)
        depth = 1 if self.plain else self.padded(channels)
        self.as_it_is = channels == depth and groups == 1 and (ph, pw) == (0, 0) and read == tuple(size)
        self.rows = (images, channels, *size, groups, *read, ph, pw, 0 if self.plain else depth)
        self.sizes = [images, groups, *read, channels // groups, filters // groups]
        self.sizes += [kh, kw, sh, sw, height, width, self.padded(filters)]
        block = backend.isa.constants["channels_last_block"] * layout.width
        first = PLAIN if self.plain else layout
        self.layouts = Layouts(ins=(first, packed_filters(layout.width, block, groups), PLAIN), outs=(layout,))
        if not self.as_it_is:
            self.forward_workspace = (Spec((images, groups, *read, channels // groups), self.dtype),)

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        return self.rectified(ins, outs, add, -inf)

    def rectified(self, ins: Buffers, outs: Buffers, add: Sequence[bool], floor: float) -> Runnable:
        (x, w, b), y = ins, outs[0]
        rows = x if self.as_it_is else outs[1]
        convolution = self.bind("channels_last_convolution", [rows, w, b, y], self.sizes, [floor])
        return convolution if self.as_it_is else Series(self.bind("image_rows", [x, rows], self.rows), convolution)


convolution = small(SmallConvolution)
