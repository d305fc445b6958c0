"""`LRNLayer` and its ops: local response normalization."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import ClassVar

from mocha_core.api import (
    Array,
    Arrays,
    Builder,
    ComputationLayer,
    EnumGroup,
    Gradients,
    Namespace,
    Op,
    Spec,
    Value,
    checks,
)
from mocha_layers_std import fields, received
from mocha_layers_std.windows import window_sum


class LRNMode(StrEnum, metaclass=EnumGroup):
    """The elements that are normalized together."""

    AcrossChannel = "across_channel"
    """Elements in neighbouring channels, at one position."""
    WithinChannel = "within_channel"
    """Elements in a square around the position, in one channel."""


class _LRN(Op):
    """y = x * s**(-power), s = shift + scale / n * (sum of x**2 over the window around the element).

    A window has `kernel` elements along each of the op's axes, (kernel - 1) // 2 of them before the element;
    n is all of them, also at the borders, beyond which x is zero. x is (N, channels, height, width).
    """

    backward_reads = ("x0",)
    axes: ClassVar[tuple[int, ...]]
    kernel: int
    scale: float
    shift: float
    power: float

    def infer(self, x: Spec) -> tuple[Spec, ...]:
        received.images(x)
        return (x,)

    def forward(self, xp: Namespace, x: Array) -> Array:
        return x * xp.pow(self._base(xp, x), -self.power)

    def backward(self, xp: Namespace, dy: Arrays, x: Arrays, y: Arrays, wanted: Sequence[bool]) -> Gradients:
        bottom, top = x[0], dy[0]
        base = self._base(xp, bottom)
        direct = top * xp.pow(base, -self.power)
        # Element j is in the windows that begin (kernel - 1) // 2 before their centres: the mirrored window.
        front = self.kernel - 1 - self._front
        others = self._window(xp, bottom * direct / base, front)
        return (direct - (2 * self.power * self._mean_scale) * bottom * others,)

    @property
    def _front(self) -> int:
        return (self.kernel - 1) // 2

    @property
    def _mean_scale(self) -> float:
        return float(self.scale / self.kernel ** len(self.axes))

    def _base(self, xp: Namespace, x: Array) -> Array:
        return self.shift + self._mean_scale * self._window(xp, xp.square(x), self._front)

    def _window(self, xp: Namespace, x: Array, front: int) -> Array:
        for axis in self.axes:
            x = window_sum(xp, x, axis, self.kernel, front)
        return x


class LRNAcrossChannel(_LRN):
    """Normalization over windows of channels."""

    name = "lrn_across_channel"
    axes = (1,)


class LRNWithinChannel(_LRN):
    """Normalization over square windows within each channel."""

    name = "lrn_within_channel"
    axes = (2, 3)


class LRNLayer(ComputationLayer):
    """Divides each element by a power of the mean square of its neighbours.

    y = x * (shift + scale / n * (sum of x**2 over n neighbours))**(-power), where n is `kernel` across
    channels and kernel**2 within a channel. One bottom (N, channels, height, width), one top of its shape.
    Source: A. Krizhevsky et al., "ImageNet classification with deep convolutional neural
    networks", NIPS 2012.
    """

    kernel: int = 5
    scale: float = 1.0
    shift: float = 1.0
    power: float = 0.75
    mode: LRNMode = LRNMode.AcrossChannel

    def check(self) -> None:
        super().check()
        fields.blobs(self, "input", "output")
        self.replace_field("kernel", checks.integer(self, "kernel", self.kernel, at_most=checks.MOST_WINDOW))
        for field in ("scale", "shift", "power"):
            self.replace_field(field, checks.number(self, field, getattr(self, field)))
        self.replace_field("mode", fields.choice(self, "mode", self.mode, LRNMode))

    def build(self, b: Builder, *bottoms: Value) -> tuple[Value, ...]:
        received.image_blobs(b, *bottoms)
        kind = LRNAcrossChannel if self.mode is LRNMode.AcrossChannel else LRNWithinChannel
        # A window of 2 * size - 1 has all elements at each position; a larger one would only take longer.
        kernel = min(self.kernel, 2 * max(bottoms[0].shape[axis] for axis in kind.axes) - 1)
        scale = self.scale * (kernel / self.kernel) ** len(kind.axes)
        return b.call(kind(kernel, scale, self.shift, self.power), *bottoms)
