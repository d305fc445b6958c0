"""Sliding windows of pooling and normalization, along one axis."""

from __future__ import annotations

from typing import NamedTuple

from mocha_core.api import Array, Namespace, ShapeError, checks


class Windows(NamedTuple):
    """Windows that slide along one axis of a plane.

    Attributes:
        size: the number of elements, without padding.
        number: the number of windows.
        kernel: the number of elements of a window.
        stride: the elements from the start of a window to that of the next.
        pad: the elements of padding before the first element.
        padded: the number of elements that the divisors of means count, with padding.
    """

    size: int
    number: int
    kernel: int
    stride: int
    pad: int
    padded: int

    def divisor(self, window: int) -> int:
        """The elements that a window covers, of those that count; `window` is its number."""
        return min(self.kernel, self.padded - window * self.stride)


def pooled_size(size: int, kernel: int, stride: int, front: int, end: int) -> int:
    """The number of windows that cover `size` elements padded with `front` and `end`; at least 1.

    ceil((size + front + end - kernel) / stride) + 1, less the last window if it begins after the elements
    and the padding in front of them, as in Caffe.

    Raises:
        ShapeError: the window is larger than what it slides over, or may meet nothing but padding; there are more
            elements, with padding, than kernels count.
    """
    if size + front + end > checks.MOST:
        raise ShapeError(
            f"expected at most {checks.MOST} elements along an axis, padding included, received size {size} and "
            f"padding {front} and {end}. Use less padding."
        )
    if kernel > size + front + end:
        raise ShapeError(
            f"expected a window of at most {size + front + end} (size {size} and padding {front} and {end}), "
            f"received kernel {kernel}. Use a smaller kernel or more padding."
        )
    if max(front, end) >= kernel:
        raise ShapeError(
            f"expected padding smaller than the kernel, received kernel {kernel}, padding {front} and {end}."
        )
    windows = -(-(size + front + end - kernel) // stride) + 1
    return windows - 1 if (windows - 1) * stride >= size + front else windows


def tap(offset: int, windows: int, stride: int) -> slice:
    """The index of element number `offset` of each window."""
    return slice(offset, offset + (windows - 1) * stride + 1, stride)


def padded(xp: Namespace, x: Array, axis: int, front: int, length: int, fill: float = 0.0) -> Array:
    """x with `front` elements `fill` before it along `axis`, and `fill` after it up to `length` elements."""
    shape = list(x.shape)
    parts = []
    for missing in (front, length - front - x.shape[axis]):
        shape[axis] = missing
        parts.append(xp.full(tuple(shape), fill, dtype=x.dtype))
    return xp.concat([parts[0], x, parts[1]], axis=axis)


def window_sum(xp: Namespace, x: Array, axis: int, kernel: int, front: int) -> Array:
    """Sums over windows of `kernel` elements that begin `front` before each element; zero beyond the ends."""
    size = x.shape[axis]
    wide = padded(xp, x, axis, front, size + kernel - 1)
    total = xp.zeros_like(x)
    for offset in range(kernel):
        total = total + wide[(slice(None),) * axis + (slice(offset, offset + size), ...)]
    return total
