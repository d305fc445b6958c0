"""Max and mean pooling, one offset of the kernel at a time.

An offset selects one pixel of every window. Windows that reach beyond the input are clipped: an offset applies
only to the windows that have a pixel there.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mocha_core.api import Kernel, Runnable, Spec
from mocha_cpu.arrays import Array, Buffers, Steps

if TYPE_CHECKING:
    from mocha_core.api import Backend, Call

#: Planes, rows, columns.
Index = tuple[slice, slice, slice]


class Side(NamedTuple):
    """The windows along one axis: the fields of `mocha_layers_std.windows.Windows`."""

    size: int
    out: int
    kernel: int
    stride: int
    pad: int
    padded: int

    @property
    def reach(self) -> int:
        """The number of a window's elements that may be pixels: those after them are padding in every window."""
        return min(self.kernel, self.pad + self.size)

    @property
    def starts(self) -> Array:
        """The first index of each window; below 0 in the padding."""
        return np.arange(self.out) * self.stride - self.pad

    def pick(self, offset: int) -> tuple[slice, slice]:
        """The windows with a pixel at an offset, and these pixels."""
        first = max(0, -(-(self.pad - offset) // self.stride))
        last = max(first, min(self.out, -(-(self.size + self.pad - offset) // self.stride)))
        start = first * self.stride - self.pad + offset
        return slice(start, start + (last - first) * self.stride, self.stride), slice(first, last)


class Pooling(Kernel):
    """The base of both kernels. It views blobs as images with the axes (planes, rows, columns)."""

    def __init__(self, backend: Backend, call: Call) -> None:
        op: Any = call.op
        self.rows, self.columns = (Side(*windows) for windows in op.planes(call.ins[0].shape))
        y = call.outs[0].spec
        self.out = Spec((y.size // (self.rows.out * self.columns.out), self.rows.out, self.columns.out), y.dtype)

    def bottom(self, blob: Array) -> Array:
        """An input or its gradient as images."""
        return blob.reshape(-1, self.rows.size, self.columns.size)

    def top(self, blob: Array) -> Array:
        """An output, its gradient or its index as images."""
        return blob.reshape(self.out.shape)

    def picks(self) -> Iterator[tuple[Index, Index]]:
        """For each offset, in the order that decides ties: the pixels, and their outputs."""
        for i in range(self.rows.reach):
            for j in range(self.columns.reach):
                (rows, out_rows), (columns, out_columns) = self.rows.pick(i), self.columns.pick(j)
                yield (slice(None), rows, columns), (slice(None), out_rows, out_columns)


class MaxPooling(Pooling):
    """Offsets have codes that rise in the order that decides ties. The winner's code gives the index."""

    def __init__(self, backend: Backend, call: Call) -> None:
        super().__init__(backend, call)
        self.overlaps = any(side.kernel > side.stride for side in (self.rows, self.columns))
        code = "int8" if self.rows.reach * self.columns.reach < 128 else "int32"
        codes = (Spec(self.out.shape, dtype) for dtype in (code, code, "bool"))
        self.forward_workspace = (self.out, *codes)
        self.backward_workspace = (Spec(self.out.shape, "int64"),)

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        x, y = self.bottom(ins[0]), self.top(outs[0])
        steps = Steps()
        if outs[1] is None:
            self.record_maxima(steps, x, y)
        else:
            self.record_codes(steps, x, y, *outs[2:])
            self.record_index(steps, self.top(outs[1]), outs[3], outs[4])
        return steps

    def record_maxima(self, steps: Steps, x: Array, y: Array) -> None:
        """Record the maxima without their places."""
        for number, (pixels, out) in enumerate(self.picks()):
            maxima = y[out]
            if number == 0 and maxima.shape == y.shape:
                steps.do(np.copyto, y, x[pixels])
                continue
            if number == 0:
                steps.do(y.fill, -np.inf)
            steps.do(np.maximum, maxima, x[pixels], out=maxima)

    def record_codes(
        self, steps: Steps, x: Array, y: Array, pixel: Array, code: Array, candidate: Array, higher: Array
    ) -> None:
        """Record the maxima and the codes of their offsets.

        Pixels are first copied side by side: one strided pass, and then contiguous passes, which take a tenth.
        """
        # The first pixel of a window also wins if all of them are minus infinity or NaN.
        row, column = (np.maximum(0, -side.starts) for side in (self.rows, self.columns))
        steps.do(np.copyto, code, (row[:, np.newaxis] * self.columns.reach + column).astype(code.dtype))
        for number, (pixels, out) in enumerate(self.picks()):
            target = pixel if number else y
            if target[out].shape != target.shape:
                steps.do(target.fill, -np.inf)
            steps.do(np.copyto, target[out], x[pixels])
            if number:
                steps.do(np.greater, pixel, y, out=higher)
                steps.do(np.maximum, pixel, y, out=y)
                # The last offset that was higher than all before it has the highest code.
                steps.do(np.multiply, higher, code.dtype.type(number), out=candidate)
                steps.do(np.maximum, code, candidate, out=code)

    def record_index(self, steps: Steps, index: Array, code: Array, scratch: Array) -> None:
        """Record index = row * W + column of the winner."""
        width, size = self.columns.reach, self.columns.size
        start = self.rows.starts[:, np.newaxis] * size + self.columns.starts
        steps.do(np.floor_divide, code, code.dtype.type(width), out=scratch)
        steps.do(np.multiply, scratch, np.int32(size - width), out=index)
        steps.do(np.add, index, code, out=index)
        steps.do(np.add, index, start.astype(index.dtype), out=index)

    def record_position(self, steps: Steps, index: Array, position: Array) -> None:
        """Record the computation of the winners' indices in the flat input."""
        planes = np.arange(len(index)) * self.rows.size * self.columns.size
        steps.do(np.add, index, planes[:, np.newaxis, np.newaxis], out=position)

    def backward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        dy, index, (dx, position) = ins[0], self.top(ins[4]), outs
        steps = Steps()
        if dx is None:
            return steps
        self.record_position(steps, index, position)
        if not add[0]:
            steps.do(dx.fill, 0)
        give = np.add.at if self.overlaps or add[0] else operator.setitem
        steps.do(give, dx.reshape(-1), position.reshape(-1), dy.reshape(-1))
        return steps


class MeanPooling(Pooling):
    """Sums over the offsets, divided by the area of each window."""

    def __init__(self, backend: Backend, call: Call) -> None:
        super().__init__(backend, call)
        self.backward_workspace = (self.out,)

    def divisor(self) -> Array:
        """The area of each window clipped to the padded image."""
        heights, widths = (
            np.minimum(side.kernel, side.padded - side.pad - side.starts) for side in (self.rows, self.columns)
        )
        return np.asarray(heights[:, np.newaxis] * widths, self.out.dtype)

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        x, y = self.bottom(ins[0]), self.top(outs[0])
        steps = Steps()
        steps.do(y.fill, 0)
        for pixels, out in self.picks():
            steps.do(np.add, y[out], x[pixels], out=y[out])
        steps.do(np.divide, y, self.divisor(), out=y)
        return steps

    def backward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        dy, (blob, share) = self.top(ins[0]), outs
        steps = Steps()
        if blob is None:
            return steps
        dx = self.bottom(blob)
        steps.do(np.divide, dy, self.divisor(), out=share)
        if not add[0]:
            steps.do(dx.fill, 0)
        for pixels, out in self.picks():
            steps.do(np.add, dx[pixels], share[out], out=dx[pixels])
        return steps
