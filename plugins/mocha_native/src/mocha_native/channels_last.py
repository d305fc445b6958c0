"""Few images, with channels last: vectors hold channels, because there are not enough images to fill them."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from mocha_core.api import Device, Runnable, Spec
from mocha_native.compiled import Array, NativeKernel
from mocha_native.layout import CompiledLayout, Conversion, shared

if TYPE_CHECKING:
    from mocha_core.api import Call
    from mocha_native.backend import NativeBackend


#: How much longer a multiply-add of a vector takes than with images in lanes, measured.
SLOWER = 1.1


class ChannelsLast(CompiledLayout):
    """Stores (N, C, ...) as (N, ..., C), padded to whole vectors.

    Packing sets padding channels to zero. Element-wise kernels also compute with them, and their results must not reach
    other channels.
    """

    def __init__(self, width: int) -> None:
        self.width = width
        self.name = f"channels last, {width} lanes"

    def padded(self, channels: int) -> int:
        """The number of channels with padding."""
        return -(-channels // self.width) * self.width

    def physical(self, spec: Spec) -> Spec:
        rows, channels, *rest = spec.shape
        return Spec((rows, *rest, self.padded(channels)), spec.dtype)

    def pack(self, backend: Device, plain: Array, packed: Array, *, gradient: bool, add: bool) -> None:
        channels = plain.shape[1]
        value = np.moveaxis(plain, 1, -1)
        if add:
            packed[..., :channels] += value
        else:
            packed[..., :channels] = value
            packed[..., channels:] = 0

    def unpack(self, backend: Device, packed: Array, plain: Array, *, add: bool) -> None:
        value = np.moveaxis(packed[..., : plain.shape[1]], -1, 1)
        plain[...] = plain + value if add else value

    def packing(self, kernel: Conversion, plain: Array, packed: Array, gradient: bool, add: bool) -> Runnable:
        return kernel.bind("channels_last_pack", [plain, packed], self.sizes(plain, add))

    def unpacking(self, kernel: Conversion, packed: Array, plain: Array, add: bool) -> Runnable:
        return kernel.bind("channels_last_unpack", [packed, plain], self.sizes(plain, add))

    def sizes(self, plain: Array, add: bool) -> list[int]:
        """The arguments of the C kernel."""
        rows, channels, *rest = plain.shape
        return [rows, channels, prod(rest), self.padded(channels), add]


class PackedFilters(CompiledLayout):
    """Filters (F, C / groups, kh, kw) in the order in which csrc/kernels/channels_last_convolution.h reads them.

    Each group has its blocks of filters, one after the other. A block is (kh, kw, C / groups, filters of the block). It
    has `block` filters; the last block has as many whole vectors as it needs. Mirrored filters lead from the channels
    of y to those of x: channels and filters change places, and taps are in reverse order, phase by phase of the stride
    (vertical, horizontal).
    """

    def __init__(self, width: int, block: int, groups: int, mirrored: bool, stride: tuple[int, int] = (1, 1)) -> None:
        self.width, self.block, self.groups, self.mirrored, self.stride = width, block, groups, mirrored, stride
        self.name = f"{'mirrored ' if mirrored else ''}filters of {groups} groups in blocks of {block}, stride {stride}"

    def physical(self, spec: Spec) -> Spec:
        outputs, inputs, height, width = self.sizes(spec.shape)
        return Spec((self.groups, -(-outputs // self.width) * self.width * inputs * height * width), spec.dtype)

    def sizes(self, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
        """The numbers of outputs and inputs of each packed group; height and width of a filter."""
        filters, channels, height, width = shape
        ends = (filters // self.groups, channels)
        outputs, inputs = ends[::-1] if self.mirrored else ends
        return outputs, inputs, height, width

    def pack(self, backend: Device, plain: Array, packed: Array, *, gradient: bool, add: bool) -> None:
        outputs, inputs, height, width = self.sizes(plain.shape)
        wide, taps = -(-outputs // self.width) * self.width, height * width
        grouped = plain.reshape(self.groups, -1, plain.shape[1], taps)
        ordered = np.zeros((self.groups, taps, inputs, wide), plain.dtype)
        if self.mirrored:
            (sh, sw), places = self.stride, np.arange(taps).reshape(height, width)
            order = [places[r::sh, q::sw][::-1, ::-1].ravel() for r in range(sh) for q in range(sw)]
            ordered[..., :outputs] = grouped[..., np.concatenate(order)].transpose(0, 3, 1, 2)
        else:
            ordered[..., :outputs] = grouped.transpose(0, 3, 2, 1)
        blocks = [ordered[..., at : at + self.block] for at in range(0, wide, self.block)]
        value = np.concatenate([block.reshape(self.groups, -1) for block in blocks], axis=1)
        packed[...] = packed + value if add else value

    def packing(self, kernel: Conversion, plain: Array, packed: Array, gradient: bool, add: bool) -> Runnable:
        sizes = [self.groups, *self.sizes(plain.shape), *self.stride, self.mirrored]
        return kernel.bind("channels_last_filters", [plain, packed], sizes)


#: Returns the same layout for the same attributes, so that kernels that share filters share their packed form.
packed_filters = shared(PackedFilters)


class SmallKernel(NativeKernel):
    """A kernel for blobs with their channels last."""

    def __init__(self, backend: NativeBackend, call: Call, layout: ChannelsLast) -> None:
        super().__init__(backend, call)
        self.layout = layout

    def padded(self, channels: int) -> int:
        return self.layout.padded(channels)


def small(kernel: type[SmallKernel]) -> Callable[[NativeBackend, Call], SmallKernel | None]:
    """A builder of the kernel that declines unless the first input has its channels last."""

    def build(backend: NativeBackend, call: Call) -> SmallKernel | None:
        layout = backend.small_layout(call.ins[0])
        return None if layout is None else kernel(backend, call, layout)

    return build
