"""Direct convolution of blobs in lanes, see csrc/kernels/convolution.h and convolution_weights.h."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, prod
from typing import TYPE_CHECKING

import numpy as np

from mocha_core.api import ITEMSIZE, PLAIN, Device, Half, Layouts, Runnable, Spec
from mocha_native.compiled import Array, Buffers, Compiled, NativeKernel, Series
from mocha_native.layout import CompiledLayout, Conversion, Lanes, shared

if TYPE_CHECKING:
    from mocha_core.api import Call
    from mocha_native.backend import NativeBackend


class PackedFilters(CompiledLayout):
    """Filters in blocks, as a correlation reads them: (groups, blocks, channels, height, width, filters of a block).

    For the gradient of the image (`phased`), channels and filters change roles, and taps are in reverse order. With a
    stride, the taps are ordered by phase: taps of positions with the same remainder lie together.
    Blocks are padded with zeros. There is no conversion back.
    """

    def __init__(self, groups: int, block: int, stride: tuple[int, int], phased: bool) -> None:
        self.groups, self.block, self.stride, self.phased = groups, block, stride, phased
        self.name = f"filters in blocks of {block}" + (f", phases of {stride}" if phased else "")

    def sizes(self, filters: tuple[int, ...]) -> tuple[int, int, int, int, int]:
        """The number of groups, of channels and filters of a group, and height and width."""
        n, channels, height, width = filters
        return self.groups, channels, n // self.groups, height, width

    def physical(self, spec: Spec) -> Spec:
        groups, channels, filters, height, width = self.sizes(spec.shape)
        outs, ins = (channels, filters) if self.phased else (filters, channels)
        return Spec((groups * -(-outs // self.block) * ins * height * width * self.block,), spec.dtype)

    def pack(self, backend: Device, plain: Array, packed: Array, *, gradient: bool, add: bool) -> None:
        groups, channels, filters, height, width = self.sizes(plain.shape)
        w = plain.reshape(groups, filters, channels, height, width)
        pieces = [w]
        if self.phased:
            (sw, sh), turned = self.stride, w.swapaxes(1, 2)
            pieces = [turned[:, :, :, r::sh, s::sw][..., ::-1, ::-1] for r in range(sh) for s in range(sw)]
        outs = pieces[0].shape[1]
        blocks = -(-outs // self.block)
        padding = [(0, 0)] * 5
        padding[1] = (0, blocks * self.block - outs)
        rows = [np.pad(p, padding).reshape(groups, blocks, self.block, *p.shape[2:]) for p in pieces]
        value = np.concatenate([np.moveaxis(row, 2, -1).ravel() for row in rows])
        packed[...] = packed + value if add else value

    def packing(self, kernel: Conversion, plain: Array, packed: Array, gradient: bool, add: bool) -> Runnable:
        groups, channels, filters, height, width = self.sizes(plain.shape)
        name = "convolution_pack_phases" if self.phased else "convolution_pack"
        sizes = [groups, channels, filters, self.block, height, width, *self.stride[::-1]]
        return kernel.bind(name, [plain, packed], sizes)


#: What packing filters and summing the lanes of their gradients cost in training for each element, in multiply-adds of
#: vectors.
PACK = 40
#: One layout for each way of packing, because layouts are compared by identity.
packed_filters = shared(PackedFilters)


class Convolution(NativeKernel):
    """For each thread, the workspace holds a strip of the image, and in backward the sums for weights."""

    rectifies = True
    masks_bottom = True

    def __init__(self, backend: NativeBackend, call: Call, lanes: Lanes) -> None:
        super().__init__(backend, call)
        x, w, y = call.ins[0], call.ins[1], call.outs[0]
        groups = self.op.n_group
        channels, filters = w.shape[1], w.shape[0] // groups
        self.width = lanes.width
        self.blocks = -(-x.shape[0] // lanes.width)
        self.groups, self.channels, self.filters = groups, channels, filters
        self.image, self.taps, self.result = x.shape[2:], w.shape[2:], y.shape[2:]
        # If there is one result, the stride has no effect, and may be larger than any image.
        self.stride = tuple(s if n > 1 else 1 for s, n in zip(self.op.stride[::-1], self.result))
        self.pad = self.op.pad[::-1]
        self.takes_epilogue = tuple(Half) if self.stride == (1, 1) else (Half.FORWARD,)
        self.block, self.image_block = self.best_block(filters), self.best_block(channels)
        forward = packed_filters(groups, self.block, self.stride[::-1], False)
        backward = packed_filters(groups, self.image_block, self.stride[::-1], True)
        self.layouts = Layouts(
            ins=(lanes, forward, PLAIN),
            outs=(lanes,),
            gradients=(lanes, PLAIN, PLAIN),
            backward_ins=(lanes, backward, PLAIN),
        )
        self.strip, copied = self.strips(channels, self.taps, self.stride, self.result)
        # The largest number of taps and positions of a phase.
        phase_taps = tuple(-(-k // s) for k, s in zip(self.taps, self.stride))
        positions = tuple(-(-n // s) for n, s in zip(self.image, self.stride))
        self.image_strip, image_copied = self.strips(filters, phase_taps, (1, 1), positions)
        threads = backend.threads
        self.forward_workspace = (Spec((threads, copied), self.dtype),)
        self.backward_workspace = (Spec((threads, image_copied), self.dtype), Spec((threads, self.sums()), self.dtype))

    def cost(self, trains: bool) -> float:
        filters = -(-self.filters // self.block) * self.block
        products: float = self.blocks * self.groups * self.channels * filters * prod((*self.taps, *self.result))
        return (3 * products + PACK * self.call.ins[1].spec.size) if trains else products

    def best_block(self, n: int) -> int:
        """The number of filters of a block that wastes least; the largest such number."""
        constants = self.backend.isa.constants
        sizes = range(constants["convolution_max_block"], constants["convolution_min_block"] - 1, -1)
        return min(sizes, key=lambda size: -(-n // size) * size)

    def strips(
        self, channels: int, taps: Sequence[int], stride: Sequence[int], size: Sequence[int]
    ) -> tuple[tuple[int, int], int]:
        """The rows and columns of y that are computed at once, and the number of elements of x that they need.

        A strip is as wide as fits, and then has as many rows as fit. Strips have about equal sizes.
        """
        constants = self.backend.isa.constants
        tile, limit = constants["convolution_tile_columns"], constants["convolution_strip_bytes"]
        pixels = limit // (channels * self.width * ITEMSIZE[self.dtype])
        tiles = -(-size[1] // tile)
        n = 1
        while True:
            columns = -(-tiles // n) * tile
            wide = (columns - 1) * stride[1] + taps[1]
            if n >= tiles or wide * taps[0] <= pixels:
                break
            n += 1
        most = max(1, min(size[0], (pixels // wide - taps[0]) // stride[0] + 1))
        rows = -(-size[0] // -(-size[0] // most))
        return (rows, columns), channels * ((rows - 1) * stride[0] + taps[0]) * wide * self.width

    def sums(self) -> int:
        """The number of elements of a thread's sums for weights: at least those of the largest tile."""
        constants = self.backend.isa.constants
        least = constants["convolution_weights_tile"] * prod(self.taps)
        most = constants["convolution_weights_bytes"] // (self.width * ITEMSIZE[self.dtype])
        return max(least, most) * self.width

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        return self.rectified(ins, outs, add, -inf)

    def rectified(self, ins: Buffers, outs: Buffers, add: Sequence[bool], floor: float) -> Runnable:
        workspace = outs[-1]
        shapes = [*self.image, *self.taps, *self.result, *self.stride, *self.pad]
        sizes = [self.blocks, self.groups, self.channels, self.filters, self.block, *shapes, *self.strip]
        return self.bind(
            "convolution_forward", [*ins, outs[0], workspace, self.epilogue], [*sizes, workspace.shape[1], 0], [floor]
        )

    def backward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        return self.bottom_masked(ins, outs, add, None, 0.0)

    def bottom_masked(
        self, ins: Buffers, outs: Buffers, add: Sequence[bool], mask: Array | None, floor: float
    ) -> Runnable:
        (dy, x, w), (dx, dw, db), (copies, sums) = ins[:3], outs[:3], outs[-2:]
        parts: list[Compiled] = []
        if dw is not None:
            parts.append(self.weights(x, dy, dw, sums, add[1]))
        if db is not None:
            parts.append(self.bias(dy, db, add[2]))
        if dx is not None:
            shapes = [*self.result, *self.taps, *self.image, *self.stride, *self.pad]
            sizes = [self.blocks, self.groups, self.filters, self.channels, self.image_block, *shapes]
            sizes += [*self.image_strip, copies.shape[1], add[0]]
            parts.append(self.bind("convolution_images", [dy, w, mask, dx, copies, self.epilogue], sizes, [floor]))
        for part in parts[:-1]:
            part.meets = False
        return Series(*parts)

    def weights(self, x: Array, dy: Array, dw: Array, sums: Array, add: bool) -> Compiled:
        """The gradient of the filters."""
        shapes = [*self.image, *self.taps, *self.result, *self.stride, *self.pad]
        sizes = [self.blocks, self.groups, self.channels, self.filters, *shapes, sums.shape[1], add]
        return self.bind("convolution_weights", [x, dy, dw, sums], sizes)

    def bias(self, dy: Array, db: Array, add: bool) -> Compiled:
        """The gradient of the bias."""
        return self.bind("convolution_bias", [dy, db], [self.blocks, db.size, prod(self.result), add])


def convolution(backend: NativeBackend, call: Call) -> Convolution | None:
    """Declines blobs that are not in lanes."""
    layout = backend.blob_layout(call.ins[0])
    return Convolution(backend, call, layout) if isinstance(layout, Lanes) else None
