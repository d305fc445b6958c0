"""Convolution of few images by Winograd's algorithms, see csrc/kernels/channels_last_winograd.h."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from mocha_core.api import ITEMSIZE, Device, Layouts, Runnable, Spec
from mocha_native.channels_last import ChannelsLast
from mocha_native.compiled import Array, Buffers
from mocha_native.kernels.channels_last_convolution import SmallConvolution
from mocha_native.kernels.winograd import TILE, round_up, weights
from mocha_native.layout import CompiledLayout, Conversion, shared

if TYPE_CHECKING:
    from mocha_core.api import Call
    from mocha_native.backend import NativeBackend

#: The cost of both transforms for a vector of channels or of outputs at one point, in multiplications of a product.
TRANSFORM = 8
#: The cost of reading a vector of filters, in such multiplications: from a cache, and from memory (64 bytes).
READ, READ_FAR = 2, 10
#: The number of bytes of filters, at all points, that caches hold from one prediction to the next.
NEAR = 16 << 20


class SmallFilters(CompiledLayout):
    """Filters at all points of the algorithm, in the order in which kernels read them: for each block of outputs
    (points, channels, outputs of the block), padded to whole vectors."""

    def __init__(self, size: int, width: int, block: int) -> None:
        self.points, self.width, self.block = size + TILE - 1, width, block
        self.name = f"{size}x{size} filters at {self.points}x{self.points} points in blocks of {block}"
        self.weights = weights(size)

    def physical(self, spec: Spec) -> Spec:
        outputs, channels = spec.shape[:2]
        return Spec((self.points**2 * channels * round_up(outputs, self.width),), spec.dtype)

    def pack(self, backend: Device, plain: Array, packed: Array, *, gradient: bool, add: bool) -> None:
        outputs, channels = plain.shape[:2]
        wide = round_up(outputs, self.width)
        ordered = np.zeros((self.points, self.points, channels, wide))
        ordered[..., :outputs] = np.einsum("iu,ocuv,jv->ijco", self.weights, plain, self.weights)
        blocks = [ordered[..., at : at + self.block].reshape(-1) for at in range(0, wide, self.block)]
        packed[...] = np.concatenate(blocks) + (packed if add else 0)

    def packing(self, kernel: Conversion, plain: Array, packed: Array, gradient: bool, add: bool) -> Runnable:
        return kernel.bind("channels_last_winograd_pack", [plain, packed], [self.points, *plain.shape[:2]])


#: Returns the same layout for the same attributes, so that kernels that share filters share their packed form.
small_filters = shared(SmallFilters)


class SmallWinograd(SmallConvolution):
    """Forward; backward is that of direct convolution. For each thread, the workspace holds the data and products of a
    group of tiles at all points."""

    def __init__(self, backend: NativeBackend, call: Call, layout: ChannelsLast) -> None:
        super().__init__(backend, call, layout)
        (images, channels, *size), (_, outputs, *top_size) = call.ins[0].shape, call.outs[0].shape
        kernel, (pw, ph), constants = self.op.kernel[0], self.op.pad, backend.isa.constants
        points, room, top_room = kernel + TILE - 1, self.padded(channels), self.padded(outputs)
        block = constants["channels_last_winograd_block"] * layout.width
        group = min(tiles(call), constants["channels_last_winograd_group"])
        scratch = points**2 * (group * (room + block) + 2 * layout.width)
        old = self.layouts
        self.layouts = Layouts(
            ins=(layout, small_filters(kernel, layout.width, block), *old.ins[2:]),
            outs=old.outs,
            gradients=old.gradients,
            backward_ins=old.backward_ins,
        )
        self.forward_workspace = (Spec((backend.threads, scratch), self.dtype),)
        self.sizes = [points, images, channels, *size, outputs, *top_size, ph, pw, room, top_room, scratch]

    def rectified(self, ins: Buffers, outs: Buffers, add: Sequence[bool], floor: float) -> Runnable:
        (x, w, b), (y, scratch) = ins, outs
        return self.bind("channels_last_winograd", [x, w, b, y, scratch], self.sizes, [floor])


def tiles(call: Call) -> int:
    """The number of tiles of all images."""
    images, _, rows, columns = call.outs[0].shape
    return images * -(-rows // TILE) * -(-columns // TILE)


def winograd(backend: NativeBackend, call: Call) -> SmallWinograd | None:
    """Declines unless filters are 3x3 or 5x5 with stride 1 and one group, and Winograd's algorithm is faster."""
    op, layout = call.op, backend.small_layout(call.ins[0])
    fits = op.kernel in ((3, 3), (5, 5)) and op.stride == (1, 1) and op.n_group == 1  # type: ignore[attr-defined]
    if layout is None or not (backend.winograd and fits and pays(call, layout)):
        return None
    return SmallWinograd(backend, call, layout)


def pays(call: Call, layout: ChannelsLast) -> bool:
    """Whether products at the points, transforms, and reading more filters take less time than direct convolution."""
    (outputs, channels, size, _), pixels = call.ins[1].shape, call.outs[0].spec.size // call.outs[0].shape[1]
    vectors, top_vectors = (layout.padded(n) // layout.width for n in (channels, outputs))
    points, itemsize = (size + TILE - 1) ** 2, ITEMSIZE[call.ins[0].dtype]
    near = points * channels * layout.padded(outputs) * itemsize <= NEAR
    read = READ if near else READ_FAR * layout.width * itemsize / 64
    products = (tiles(call) + read) * channels * top_vectors + TRANSFORM * tiles(call) * (vectors + top_vectors)
    return points * products < pixels * size**2 * channels * top_vectors
