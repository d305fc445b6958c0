"""`ChannelPoolingLayer` and its ops: the maximum or the mean of windows that slide over the channels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod

from mocha_core.api import (
    Array,
    Arrays,
    Builder,
    ComputationLayer,
    Gradients,
    Namespace,
    Op,
    ShapeError,
    Spec,
    Value,
    checks,
)
from mocha_layers_std import fields, received
from mocha_layers_std.pooling import Pooling
from mocha_layers_std.windows import Windows, padded, pooled_size, tap


class _ChannelPooling(Op):
    """Windows of `kernel` channels, `stride` apart, over `channels` channels with padding (front, end)."""

    kernel: int
    stride: int
    pad: tuple[int, int]
    channels: int

    def top(self, x: Spec) -> Spec:
        """The pooled blob."""
        received.features(x)
        if x.shape[1] != self.channels:
            raise ShapeError(f"expected {self.channels} channels, received {x}.")
        return Spec((x.shape[0], self._windows(), *x.shape[2:]), x.dtype)

    def planes(self, shape: tuple[int, ...]) -> tuple[Windows, Windows]:
        """The windows down and across the planes of an input with this shape, for kernels.

        The rows of a plane are the channels, its columns are the positions. No divisor is smaller than `kernel`.
        """
        number, positions = self._windows(), prod(shape[2:])
        covered = number * self.stride + self.kernel
        down = Windows(self.channels, number, self.kernel, self.stride, self.pad[0], covered)
        return down, Windows(positions, positions, 1, 1, 0, positions)

    def _windows(self) -> int:
        return pooled_size(self.channels, self.kernel, self.stride, *self.pad)

    def _taps(self) -> Iterator[tuple[int, slice]]:
        """Each offset in the window, and the channels of the wide blob at this offset of the windows."""
        for offset in range(self._reach):
            yield offset, tap(offset, self._windows(), self.stride)

    @property
    def _reach(self) -> int:
        """The number of a window's elements that may be channels: those after them are padding in every window."""
        return min(self.kernel, self.pad[0] + self.channels)

    def _wide(self, xp: Namespace, x: Array, fill: float) -> Array:
        """The wide blob: x with the padding that windows reach, in front and beyond the end."""
        length = max(self.pad[0] + self.channels, (self._windows() - 1) * self.stride + self._reach)
        return padded(xp, x, 1, self.pad[0], length, fill)

    def _inside(self, wide: Array) -> Array:
        """The channels of the wide blob that are not padding."""
        return wide[:, self.pad[0] : self.pad[0] + self.channels, ...]

    def _blank(self, xp: Namespace, top: Array) -> Array:
        """A wide blob of zeros, to which gradients are added."""
        bottom = xp.zeros((top.shape[0], self.channels, *top.shape[2:]), dtype=top.dtype)
        return self._wide(xp, bottom, 0.0)


class MaxChannelPooling(_ChannelPooling):
    """y is the largest element of each window. The saved output is its channel, int32.

    Padding never wins, the first of equal elements does, a NaN always does. The gradient goes to the winner.
    """

    name = "max_channel_pooling"
    backward_reads = ("y1",)
    saved = 1

    def infer(self, x: Spec) -> tuple[Spec, ...]:
        top = self.top(x)
        return top, Spec(top.shape, "int32")

    def forward(self, xp: Namespace, x: Array) -> tuple[Array, Array]:
        wide = self._wide(xp, x, float("-inf"))
        shape = (x.shape[0], self._windows(), *x.shape[2:])
        best = xp.full(shape, float("-inf"), dtype=x.dtype)
        first = xp.maximum(self._channel(xp, 0, len(shape)), 0)
        index = xp.broadcast_to(first, shape)
        for offset, channels in self._taps():
            element = wide[:, channels, ...]
            better = xp.logical_or(element > best, xp.isnan(element))
            best = xp.where(better, element, best)
            index = xp.where(better, self._channel(xp, offset, len(shape)), index)
        return best, index

    def backward(self, xp: Namespace, dy: Arrays, x: Arrays, y: Arrays, wanted: Sequence[bool]) -> Gradients:
        top, index = dy[0], y[1]
        nothing, wide = xp.zeros_like(top), self._blank(xp, top)
        for offset, channels in self._taps():
            hit = index == self._channel(xp, offset, len(top.shape))
            wide[:, channels, ...] += xp.where(hit, top, nothing)
        return (self._inside(wide),)

    def _channel(self, xp: Namespace, offset: int, axes: int) -> Array:
        """The channel of each window's element number `offset`, as (1, windows, 1, ...)."""
        channel = xp.arange(self._windows(), dtype=xp.int32) * self.stride + (offset - self.pad[0])
        return xp.reshape(channel, (1, -1) + (1,) * (axes - 2))


class MeanChannelPooling(_ChannelPooling):
    """y is the sum of each window, divided by `kernel`, even if part of the window is padding."""

    name = "mean_channel_pooling"
    backward_reads = ()

    def infer(self, x: Spec) -> tuple[Spec, ...]:
        return (self.top(x),)

    def forward(self, xp: Namespace, x: Array) -> Array:
        wide = self._wide(xp, x, 0.0)
        total = xp.zeros((x.shape[0], self._windows(), *x.shape[2:]), dtype=x.dtype)
        for _, channels in self._taps():
            total = total + wide[:, channels, ...]
        return total / float(self.kernel)

    def backward(self, xp: Namespace, dy: Arrays, x: Arrays, y: Arrays, wanted: Sequence[bool]) -> Gradients:
        share, wide = dy[0] / float(self.kernel), self._blank(xp, dy[0])
        for _, channels in self._taps():
            wide[:, channels, ...] += share
        return (self._inside(wide),)


class ChannelPoolingLayer(ComputationLayer):
    """Slides a window over the channels and keeps its maximum or its mean.

    Bottoms: one or more (N, channels, ...). Tops: as many, (N, windows, ...), with
    ceil((channels + front + end - kernel) / stride) + 1 windows, less one that would begin beyond the
    channels and the padding before them. The divisor of a mean is `kernel`, also for windows with padding.
    """

    kernel: int
    """The number of channels of a window. If it exceeds the padded channels, there is one window, which ends beyond."""
    stride: int = 1
    pad: tuple[int, int] | int = (0, 0)
    """(front, end), each smaller than the kernel; one integer gives both."""
    pooling: Pooling = Pooling.Max

    def check(self) -> None:
        super().check()
        fields.one_top_each(self)
        for field in ("kernel", "stride"):
            self.replace_field(field, checks.integer(self, field, getattr(self, field), at_most=checks.MOST_WINDOW))
        self.replace_field("pad", checks.pair(self, "pad", self.pad, at_least=0, words="(front, end)"))
        self.replace_field("pooling", fields.choice(self, "pooling", self.pooling, Pooling))

    def build(self, b: Builder, *bottoms: Value) -> tuple[Value, ...]:
        kind = MaxChannelPooling if self.pooling is Pooling.Max else MeanChannelPooling
        front, end = fields.pair(self.pad)
        tops: list[Value] = []
        for bottom in bottoms:
            received.features(bottom.spec)
            channels = bottom.shape[1]
            covered = max(end, self.kernel - channels - front)
            tops += b.call(kind(self.kernel, self.stride, (front, covered), channels), bottom)
        return tuple(tops)
