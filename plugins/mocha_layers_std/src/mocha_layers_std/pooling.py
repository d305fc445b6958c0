"""`PoolingLayer` and its ops: the maximum or the mean of windows that slide over an image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum

from mocha_core.api import (
    Array,
    Arrays,
    Builder,
    ComputationLayer,
    EnumGroup,
    Gradients,
    Namespace,
    Op,
    ShapeError,
    Spec,
    Value,
    checks,
)
from mocha_layers_std import fields, received
from mocha_layers_std.windows import Windows, padded, pooled_size, tap


class Pooling(StrEnum, metaclass=EnumGroup):
    """The result of a window."""

    Max = "max"
    Mean = "mean"


class _Pooling(Op):
    """Windows over images of `height` x `width`; kernel, stride and pad are (width, height)."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    pad: tuple[int, int]
    height: int
    width: int

    def top(self, x: Spec) -> Spec:
        """The pooled images."""
        received.images(x)
        if x.shape[2:] != (self.height, self.width):
            raise ShapeError(f"expected images of {self.height} rows and {self.width} columns, received {x}.")
        return Spec((*x.shape[:2], *self._windows()), x.dtype)

    def planes(self, shape: tuple[int, ...]) -> tuple[Windows, Windows]:
        """The windows down and across the images of an input with this shape, for kernels."""
        (kw, kh), (sw, sh), (pw, ph), (rows, columns) = self.kernel, self.stride, self.pad, self._windows()
        down = Windows(self.height, rows, kh, sh, ph, self.height + 2 * ph)
        return down, Windows(self.width, columns, kw, sw, pw, self.width + 2 * pw)

    def _windows(self) -> tuple[int, int]:
        """The numbers of windows down and across."""
        (kw, kh), (sw, sh), (pw, ph) = self.kernel, self.stride, self.pad
        return pooled_size(self.height, kh, sh, ph, ph), pooled_size(self.width, kw, sw, pw, pw)

    def _taps(self) -> Iterator[tuple[int, int, slice, slice]]:
        """Each offset in the window, row by row, and the elements of the wide image at this offset of the windows."""
        (kw, kh), (sw, sh), (rows, columns) = self.kernel, self.stride, self._windows()
        for u in range(kh):
            for v in range(kw):
                yield u, v, tap(u, rows, sh), tap(v, columns, sw)

    def _wide(self, xp: Namespace, x: Array, fill: float) -> Array:
        """The wide image: x with padding, and with the elements that the last windows reach beyond the end."""
        (kw, kh), (sw, sh), (pw, ph), (rows, columns) = self.kernel, self.stride, self.pad, self._windows()
        x = padded(xp, x, 2, ph, max(self.height + 2 * ph, (rows - 1) * sh + kh), fill)
        return padded(xp, x, 3, pw, max(self.width + 2 * pw, (columns - 1) * sw + kw), fill)

    def _inside(self, wide: Array) -> Array:
        """The part of the wide image that is the image."""
        (pw, ph) = self.pad
        return wide[:, :, ph : ph + self.height, pw : pw + self.width]


class MaxPooling(_Pooling):
    """y is the largest element of each window. The saved output is its index (int32, row * width + column).

    Padding never wins, the first of equal elements does, a NaN always does. The gradient goes to the winner.
    """

    name = "max_pooling"
    backward_reads = ("y1",)
    saved = 1

    def infer(self, x: Spec) -> tuple[Spec, ...]:
        top = self.top(x)
        if self.height * self.width > checks.MOST:
            raise ShapeError(
                f"expected images of at most {checks.MOST} pixels, as the index of the largest is int32; received {x}. "
                "Pool their means, or smaller images."
            )
        return top, Spec(top.shape, "int32")

    def forward(self, xp: Namespace, x: Array) -> tuple[Array, Array]:
        wide = self._wide(xp, x, float("-inf"))
        shape = (*x.shape[:2], *self._windows())
        best = xp.full(shape, float("-inf"), dtype=x.dtype)
        index = xp.broadcast_to(self._first(xp), shape)
        for u, v, rows, columns in self._taps():
            element = wide[:, :, rows, columns]
            better = xp.logical_or(element > best, xp.isnan(element))
            best = xp.where(better, element, best)
            index = xp.where(better, self._index(xp, u, v), index)
        return best, index

    def backward(self, xp: Namespace, dy: Arrays, x: Arrays, y: Arrays, wanted: Sequence[bool]) -> Gradients:
        top, index = dy[0], y[1]
        nothing = xp.zeros_like(top)
        wide = self._wide(xp, xp.zeros((*top.shape[:2], self.height, self.width), dtype=top.dtype), 0.0)
        for u, v, rows, columns in self._taps():
            wide[:, :, rows, columns] += xp.where(index == self._index(xp, u, v), top, nothing)
        return (self._inside(wide),)

    def _index(self, xp: Namespace, u: int, v: int) -> Array:
        """The index in the image of each window's element (u, v)."""
        (sw, sh), (pw, ph), (rows, columns) = self.stride, self.pad, self._windows()
        row = xp.arange(rows, dtype=xp.int32) * sh + (u - ph)
        column = xp.arange(columns, dtype=xp.int32) * sw + (v - pw)
        # Left and right padding would alias pixels of the neighbouring rows.
        outside = xp.logical_or(column < 0, column >= self.width)
        index = xp.expand_dims(row * self.width, axis=1) + xp.expand_dims(column, axis=0)
        return xp.where(xp.expand_dims(outside, axis=0), xp.full_like(index, -1), index)

    def _first(self, xp: Namespace) -> Array:
        """The index of each window's first element inside the image, for windows of minus infinity."""
        (sw, sh), (pw, ph), (rows, columns) = self.stride, self.pad, self._windows()
        row = xp.maximum(xp.arange(rows, dtype=xp.int32) * sh - ph, 0)
        column = xp.maximum(xp.arange(columns, dtype=xp.int32) * sw - pw, 0)
        return xp.expand_dims(row * self.width, axis=1) + xp.expand_dims(column, axis=0)


class MeanPooling(_Pooling):
    """y is the mean of each window. Padding counts as zeros; elements beyond the padding do not count.

    The divisor is the size of the window clipped to the padded image, as in Caffe and cuDNN.
    """

    name = "mean_pooling"
    backward_reads = ()

    def infer(self, x: Spec) -> tuple[Spec, ...]:
        return (self.top(x),)

    def forward(self, xp: Namespace, x: Array) -> Array:
        wide = self._wide(xp, x, 0.0)
        total = xp.zeros((*x.shape[:2], *self._windows()), dtype=x.dtype)
        for _, _, rows, columns in self._taps():
            total = total + wide[:, :, rows, columns]
        return total / self._divisor(xp, x)

    def backward(self, xp: Namespace, dy: Arrays, x: Arrays, y: Arrays, wanted: Sequence[bool]) -> Gradients:
        share = dy[0] / self._divisor(xp, dy[0])
        wide = self._wide(xp, xp.zeros((*share.shape[:2], self.height, self.width), dtype=share.dtype), 0.0)
        for _, _, rows, columns in self._taps():
            wide[:, :, rows, columns] += share
        return (self._inside(wide),)

    def _divisor(self, xp: Namespace, blob: Array) -> Array:
        down, across = ([axis.divisor(i) for i in range(axis.number)] for axis in self.planes(blob.shape))
        return xp.asarray([[d * a for a in across] for d in down], dtype=blob.dtype)


class PoolingLayer(ComputationLayer):
    """Slides a window over images and keeps its maximum or its mean.

    Bottoms: one or more (N, channels, height, width). Tops: as many, (N, channels, windows down, windows
    across), with ceil((size + 2 pad - kernel) / stride) + 1 windows each way, less one that would begin
    beyond the image and the padding before it.
    """

    kernel: tuple[int, int] | int
    """(width, height), as are stride and pad; one integer gives both. It is cut to the size of the padded image."""
    stride: tuple[int, int] | int = (1, 1)
    pad: tuple[int, int] | int = (0, 0)
    """The padding, smaller than the kernel."""
    pooling: Pooling = Pooling.Max

    def check(self) -> None:
        super().check()
        fields.one_top_each(self)
        for field in ("kernel", "stride"):
            self.replace_field(field, checks.pair(self, field, getattr(self, field)))
        self.replace_field("pad", checks.pair(self, "pad", self.pad, at_least=0))
        self.replace_field("pooling", fields.choice(self, "pooling", self.pooling, Pooling))

    def build(self, b: Builder, *bottoms: Value) -> tuple[Value, ...]:
        kind = MaxPooling if self.pooling is Pooling.Max else MeanPooling
        (kw, kh), (pw, ph) = fields.pair(self.kernel), fields.pair(self.pad)
        received.image_blobs(b, *bottoms)
        tops: list[Value] = []
        for bottom in bottoms:
            rows, columns = bottom.shape[2:]
            clipped = min(kw, columns + 2 * pw), min(kh, rows + 2 * ph)
            op = kind(clipped, fields.pair(self.stride), (pw, ph), rows, columns)
            tops += b.call(op, bottom)
        return tuple(tops)
