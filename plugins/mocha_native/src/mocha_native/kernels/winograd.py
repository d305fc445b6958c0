"""Convolutions by Winograd's algorithms, see csrc/kernels/winograd.h and winograd_weights.h."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import inf
from typing import TYPE_CHECKING

import numpy as np

from mocha_core.api import Device, Half, Layouts, Runnable, Spec
from mocha_native.compiled import Array, Buffers, Compiled, NativeKernel, Series
from mocha_native.kernels.convolution import convolution
from mocha_native.layout import CompiledLayout, Conversion

if TYPE_CHECKING:
    from mocha_core.api import Call
    from mocha_native.backend import NativeBackend

#: The number of results of a tile in each direction.
TILE = 4
#: By the size of filters: the points, without infinity, at which the algorithm evaluates its polynomials.
POINTS = {3: (0, 1, -1, 2, -2), 5: (0, 1, -1, 2, -2, 1 / 2, -1 / 2)}
#: The number of tiles that are computed together: in forward and backward to the data, and in backward to the filters.
#: Their data fit into the L2 cache.
GROUP, WEIGHTS_GROUP = 4, 16
#: The number of outputs whose products are computed before they are transformed.
CHUNK = 96
#: The gap, in elements, between the filters at two points. Without it all points would lie in the same set of L1.
GAP = 16
#: The cost of both transforms for the data of a channel or an output at one point, in multiplications of a product.
TRANSFORM = 15
#: What packing an element of filters at a point costs in training, for all halves, in such multiplications.
PACK = 10


class Filters(CompiledLayout):
    """Filters at all points of the algorithm: (points, outputs * channels and a gap). For backward they are flipped and
    transposed: (points, channels * outputs and a gap)."""

    def __init__(self, size: int, backward: bool) -> None:
        self.points, self.backward = size + TILE - 1, backward
        self.name = f"{size}x{size} filters at {self.points}x{self.points} points{', backward' * backward}"
        self.weights = weights(size)

    def physical(self, spec: Spec) -> Spec:
        return Spec((self.points**2, spec.shape[0] * spec.shape[1] + GAP), spec.dtype)

    def pack(self, backend: Device, plain: Array, packed: Array, *, gradient: bool, add: bool) -> None:
        filters = plain[:, :, ::-1, ::-1].swapaxes(0, 1) if self.backward else plain
        value = np.einsum("iu,ocuv,jv->ijoc", self.weights, filters, self.weights)
        there = packed[:, :-GAP]
        there[...] = value.reshape(there.shape) + (there if add else 0)

    def packing(self, kernel: Conversion, plain: Array, packed: Array, gradient: bool, add: bool) -> Runnable:
        return kernel.bind(
            "winograd_pack", [plain, packed], [self.points, *plain.shape[:2], self.backward, add, packed.shape[1]]
        )


def weights(size: int) -> Array:
    """The weight of each tap of a row of a filter at each point: a power of the point, divided by the product of its
    distances from the others. At infinity only the last tap counts."""
    points = POINTS[size]
    rows = [[p**tap / distances(points, p) for tap in range(size)] for p in points]
    return np.array([*rows, [0.0] * (size - 1) + [1.0]])


def distances(points: Sequence[float], point: float) -> float:
    """The product of a point's distances from the others."""
    return float(np.prod([point - other for other in points if other != point]))


FILTERS = {(size, backward): Filters(size, backward) for size, backward in product(POINTS, (False, True))}


class Winograd(NativeKernel):
    """A convolution of stride 1 with square filters. The workspace holds data and products of a group of tiles at all
    points; in forward and in backward to the data, each thread has its own."""

    rectifies = True
    masks_bottom = True
    takes_epilogue = tuple(Half)

    def __init__(self, backend: NativeBackend, call: Call) -> None:
        super().__init__(backend, call)
        x, w = call.ins[:2]
        self.blobs = backend.blob_layout(x)
        size = w.shape[2]
        self.layouts = Layouts(
            ins=(self.blobs, FILTERS[size, False]),
            outs=(self.blobs,),
            gradients=(self.blobs,),
            backward_ins=(self.blobs, FILTERS[size, True]),
        )
        self.size, self.points = size, size + TILE - 1
        self.x, self.y = self.blobs.physical(x.spec).shape, self.blobs.physical(call.outs[0].spec).shape
        self.forward_workspace = (self.products(),)
        self.backward_workspace = (self.products(), self.pairs())

    def cost(self, trains: bool) -> float:
        products = self.x[0] * multiplications(self.call)
        return (3 * products + PACK * self.points**2 * self.x[1] * self.y[1]) if trains else products

    def products(self) -> Spec:
        """Scratch of each thread: channels' data and outputs' products, or backward the other way round; and which
        results of the group have zeros alone in their receptive fields."""
        channels, outputs = self.x[1], self.y[1]
        rows = max(channels + min(outputs, CHUNK), outputs + min(channels, CHUNK))
        vectors = self.points**2 * (rows * GROUP + 2) + TILE**2 * GROUP
        return Spec((self.backend.threads, vectors, self.x[-1]), self.dtype)

    def pairs(self) -> Spec:
        """The common workspace for backward to the filters: outputs' and channels' data, sums for each pair of them
        and for the bias."""
        constants, lanes = self.backend.isa.constants, self.x[-1]
        rows, columns = constants["winograd_pair_rows"], constants["winograd_pair_columns"]
        outputs, channels = round_up(self.y[1], rows), round_up(self.x[1], columns)
        at_point = ((outputs + channels) * WEIGHTS_GROUP + 2) * lanes + outputs * channels + rows * columns
        return Spec((self.points**2 * at_point + outputs * lanes,), self.dtype)

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        return self.rectified(ins, outs, add, -inf)

    def rectified(self, ins: Buffers, outs: Buffers, add: Sequence[bool], floor: float) -> Runnable:
        x, filters, bias = ins
        y, scratch = outs
        return self.convolve([x, filters, bias, None, y, scratch], self.op.pad, add[0], floor, -inf)

    def backward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        return self.masked(ins, outs, add, None, -inf)

    def bottom_masked(self, ins: Buffers, outs: Buffers, add: Sequence[bool], mask: Array, floor: float) -> Runnable:
        return self.masked(ins, outs, add, mask, floor)

    def masked(self, ins: Buffers, outs: Buffers, add: Sequence[bool], mask: Array | None, floor: float) -> Runnable:
        dy, x, filters = ins[:3]
        dx, dw, db, products, pairs = outs
        parts = []
        if dw is not None or db is not None:
            sizes = [*self.geometry(x, dy, self.op.pad), add[1], add[2], WEIGHTS_GROUP]
            parts.append(self.bind("winograd_weights", [x, dy, dw, db, pairs], sizes, meets=False))
        if dx is not None:
            width, height = (self.size - 1 - pad for pad in self.op.pad)
            parts.append(self.convolve([dy, filters, None, mask, dx, products], (width, height), add[0], -inf, floor))
        parts[-1].meets = True
        return parts[0] if len(parts) == 1 else Series(*parts)

    def convolve(self, buffers: Buffers, pad: tuple[int, int], add: bool, floor: float, mask_floor: float) -> Compiled:
        """The convolution of the first buffer with the second, into the fifth."""
        x, y, scratch = buffers[0], buffers[4], buffers[5]
        sizes = [*self.geometry(x, y, pad), add, GROUP, min(y.shape[1], CHUNK), scratch[0].size, buffers[1].shape[1]]
        return self.bind("winograd_forward", [*buffers, self.epilogue], sizes, [floor, mask_floor])

    def geometry(self, x: Array, y: Array, pad: tuple[int, int]) -> list[int]:
        """The sizes, which are the first arguments of all C kernels."""
        return [self.points, *x.shape[:4], *y.shape[1:4], pad[1], pad[0]]


def round_up(n: int, grain: int) -> int:
    """The least multiple of `grain` that is not below `n`."""
    return -(-n // grain) * grain


def winograd(backend: NativeBackend, call: Call) -> Winograd | None:
    """Declines unless filters are 3x3 or 5x5 with stride 1 and one group, and Winograd's algorithm is faster."""
    op, direct = call.op, convolution(backend, call)
    fits = op.kernel in ((3, 3), (5, 5)) and op.stride == (1, 1) and op.n_group == 1  # type: ignore[attr-defined]
    if not (backend.winograd and fits and direct):
        return None
    kernel = Winograd(backend, call)
    return kernel if backend.faster(kernel, direct, pays(call)) else None


def pays(call: Call) -> bool:
    """Whether products at the points and transforms take less time than direct convolution."""
    (outputs, channels, size, _), (rows, columns) = call.ins[1].shape, call.outs[0].shape[2:]
    return multiplications(call) < rows * columns * size**2 * outputs * channels


def multiplications(call: Call) -> int:
    """About how many multiplications of vectors forward takes for a vector of images."""
    (outputs, channels, size, _), (rows, columns) = call.ins[1].shape, call.outs[0].shape[2:]
    tiles, points = -(-rows // TILE) * -(-columns // TILE), (size + TILE - 1) ** 2
    return tiles * points * (outputs * channels + TRANSFORM * (outputs + channels))
