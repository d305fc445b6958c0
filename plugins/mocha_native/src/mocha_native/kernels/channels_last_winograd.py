"""Convolution of few images by Winograd's algorithms, see csrc/kernels/channels_last_winograd.h."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import TYPE_CHECKING

import numpy as np

from mocha_core.api import ITEMSIZE, PLAIN, Device, Layouts, Runnable, Spec
from mocha_native.channels_last import SLOWER, ChannelsLast, SmallKernel
from mocha_native.compiled import Array, Buffers, Compiled, Series
from mocha_native.kernels import winograd as in_lanes
from mocha_native.kernels.channels_last_convolution import SmallConvolution
from mocha_native.kernels.winograd import PACK, TILE, WEIGHTS_GROUP, round_up, weights
from mocha_native.layout import CompiledLayout, Conversion, shared
from mocha_native.matrix_product import room_elements

if TYPE_CHECKING:
    from mocha_core.api import Call, Value
    from mocha_native.backend import NativeBackend

#: The cost of both transforms for a vector of channels or of outputs at one point, in multiplications of a product.
TRANSFORM = 8
#: The cost of reading a vector of filters, in such multiplications: from a cache, and from memory (64 bytes).
READ, READ_FAR = 2, 10
#: The number of bytes of filters, at all points, that caches hold from one prediction to the next.
NEAR = 2 << 20
#: About the bytes, in float32, of the data of a group of tiles for the gradient of the filters.
GROUP_BYTES = 1 << 20


class SmallFilters(CompiledLayout):
    """Filters at all points of the algorithm, in the order in which kernels read them: for each block of outputs
    (points, channels, outputs of the block), padded to whole vectors. Mirrored filters lead from the channels of y to
    those of x: channels and outputs change places, and taps are in reverse order."""

    def __init__(self, size: int, width: int, block: int, mirrored: bool) -> None:
        self.points, self.width, self.block, self.mirrored = size + TILE - 1, width, block, mirrored
        kind = f"{'mirrored ' if mirrored else ''}{size}x{size} filters"
        self.name = f"{kind} at {self.points}x{self.points} points in blocks of {block}"
        self.weights = weights(size)

    def ends(self, filters: tuple[int, ...]) -> tuple[int, int]:
        """The numbers of outputs and channels, as packed."""
        return (filters[1], filters[0]) if self.mirrored else (filters[0], filters[1])

    def physical(self, spec: Spec) -> Spec:
        outputs, channels = self.ends(spec.shape)
        return Spec((self.points**2 * channels * round_up(outputs, self.width),), spec.dtype)

    def pack(self, backend: Device, plain: Array, packed: Array, *, gradient: bool, add: bool) -> None:
        outputs, channels = self.ends(plain.shape)
        filters = plain[:, :, ::-1, ::-1].swapaxes(0, 1) if self.mirrored else plain
        wide = round_up(outputs, self.width)
        ordered = np.zeros((self.points, self.points, channels, wide))
        ordered[..., :outputs] = np.einsum("iu,ocuv,jv->ijco", self.weights, filters, self.weights)
        blocks = [ordered[..., at : at + self.block].reshape(-1) for at in range(0, wide, self.block)]
        packed[...] = np.concatenate(blocks) + (packed if add else 0)

    def packing(self, kernel: Conversion, plain: Array, packed: Array, gradient: bool, add: bool) -> Runnable:
        sizes = [self.points, *self.ends(plain.shape), self.mirrored]
        return kernel.bind("channels_last_winograd_pack", [plain, packed], sizes)


#: Returns the same layout for the same attributes, so that kernels that share filters share their packed form.
small_filters = shared(SmallFilters)


class SmallWinograd(SmallKernel):
    """For each thread, workspaces hold the data and products of a group of tiles at all points; for the gradient of the
    filters all threads share them.

    Attributes:
        shapes, top_shapes: arguments of the C kernels for forward, and for the gradient of x, a convolution of dy.
    """

    rectifies = True
    masks_bottom = True

    def __init__(self, backend: NativeBackend, call: Call, layout: ChannelsLast) -> None:
        super().__init__(backend, call, layout)
        (images, channels, *size), (_, outputs, *top_size) = call.ins[0].shape, call.outs[0].shape
        kernel, (pw, ph), constants = self.op.kernel[0], self.op.pad, backend.isa.constants
        self.points, room, top_room = kernel + TILE - 1, self.padded(channels), self.padded(outputs)
        block, units = constants["channels_last_winograd_block"] * layout.width, self.points**2
        forward, backward = (small_filters(kernel, layout.width, block, mirrored) for mirrored in (False, True))
        self.layouts = Layouts(
            ins=(layout, forward, PLAIN),
            outs=(layout,),
            gradients=(layout, PLAIN, PLAIN),
            backward_ins=(layout, backward, PLAIN),
        )
        before = (kernel - 1 - ph, kernel - 1 - pw)
        self.shapes = [self.points, images, channels, *size, outputs, *top_size, ph, pw, room, top_room]
        self.top_shapes = [self.points, images, outputs, *top_size, channels, *size, *before, top_room, room]
        scratch = [
            units * (min(n, constants["channels_last_winograd_group"]) * (wide + block) + 2 * layout.width)
            for n, wide in ((tiles(call.outs[0]), room), (tiles(call.ins[0]), top_room))
        ]
        self.group = min(tiles(call.outs[0]), max(WEIGHTS_GROUP, GROUP_BYTES // (units * (room + top_room) * 4)))
        pairs = units * (self.group * (room + top_room) + channels * top_room + 3 * layout.width)
        product = room_elements(backend, self.dtype, channels, self.group, top_room)
        self.forward_workspace = (Spec((backend.threads, scratch[0]), self.dtype),)
        self.backward_workspace = (
            Spec((backend.threads, scratch[1]), self.dtype),
            Spec((pairs,), self.dtype),
            Spec((backend.threads, product), self.dtype),
        )

    def cost(self, trains: bool) -> float:
        outputs, channels = self.call.ins[1].shape[:2]
        products = SLOWER * multiplications(self.call, self.layout, in_lanes.TRANSFORM)
        return (3 * products + PACK * self.points**2 * channels * outputs) if trains else products

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        return self.rectified(ins, outs, add, -inf)

    def rectified(self, ins: Buffers, outs: Buffers, add: Sequence[bool], floor: float) -> Runnable:
        (x, w, b), (y, scratch) = ins, outs
        sizes = [*self.shapes, scratch.shape[1], add[0]]
        return self.bind("channels_last_winograd", [x, w, b, y, scratch, None], sizes, [floor, -inf])

    def backward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        return self.bottom_masked(ins, outs, add, None, -inf)

    def bottom_masked(
        self, ins: Buffers, outs: Buffers, add: Sequence[bool], mask: Array | None, floor: float
    ) -> Runnable:
        (dy, x, w), (dx, dw, db, scratch, pairs, products) = ins[:3], outs
        parts: list[Compiled] = []
        if dw is not None:
            sizes = [*self.shapes, self.group, products.shape[1], add[1]]
            parts.append(self.bind("channels_last_winograd_weights", [x, dy, dw, pairs, products], sizes, meets=False))
        if db is not None:
            sizes = [dy.size // dy.shape[-1], db.size, dy.shape[-1], add[2]]
            parts.append(self.bind("channels_last_bias_gradient", [dy, db], sizes, meets=False))
        if dx is not None:
            sizes = [*self.top_shapes, scratch.shape[1], add[0]]
            buffers = [dy, w, None, dx, scratch, mask]
            parts.append(self.bind("channels_last_winograd", buffers, sizes, [-inf, floor], meets=False))
        parts[-1].meets = True
        return Series(*parts)


def tiles(y: Value) -> int:
    """The number of tiles of all images of a result."""
    images, _, rows, columns = y.shape
    return images * -(-rows // TILE) * -(-columns // TILE)


def winograd(backend: NativeBackend, call: Call) -> SmallWinograd | None:
    """Declines unless filters are 3x3 or 5x5 with stride 1 and one group, and Winograd's algorithm is faster."""
    op, layout = call.op, backend.small_layout(call.ins[0])
    fits = op.kernel in ((3, 3), (5, 5)) and op.stride == (1, 1) and op.n_group == 1  # type: ignore[attr-defined]
    if layout is None or not (backend.winograd and fits):
        return None
    kernel = SmallWinograd(backend, call, layout)
    return kernel if backend.faster(kernel, SmallConvolution(backend, call, layout), pays(call, layout)) else None


def pays(call: Call, layout: ChannelsLast) -> bool:
    """Whether products at the points, transforms, and reading more filters take less time than direct convolution."""
    (outputs, channels, size, _), pixels = call.ins[1].shape, call.outs[0].spec.size // call.outs[0].shape[1]
    points, itemsize, vectors = (
        (size + TILE - 1) ** 2,
        ITEMSIZE[call.ins[0].dtype],
        layout.padded(outputs) // layout.width,
    )
    near = points * channels * layout.padded(outputs) * itemsize <= NEAR
    read = READ if near else READ_FAR * layout.width * itemsize / 64
    fast = multiplications(call, layout) + points * read * channels * vectors
    return fast < pixels * size**2 * channels * vectors


def multiplications(call: Call, layout: ChannelsLast, transform: int = TRANSFORM) -> int:
    """About how many multiplications of vectors forward takes."""
    outputs, channels, size, _ = call.ins[1].shape
    vectors, top_vectors = (layout.padded(n) // layout.width for n in (channels, outputs))
    products = channels * top_vectors + transform * (vectors + top_vectors)
    return tiles(call.outs[0]) * (size + TILE - 1) ** 2 * products
