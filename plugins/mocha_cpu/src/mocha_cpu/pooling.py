"""Max and mean pooling, one offset of the kernel at a time.

An offset selects one pixel of every window. Windows that overrun the input are clipped: an offset serves
only the windows that have a pixel there.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from mocha_core.kernel import Buffers, Kernel, Runnable
from mocha_core.value import Spec

from mocha_cpu.arrays import Array, Steps, floating

if TYPE_CHECKING:
    from mocha_core.backend import Backend
    from mocha_core.plan import Call


def build_max(backend: Backend, call: Call) -> Kernel | None:
    return MaxPooling(call) if floating(call) else None


def build_mean(backend: Backend, call: Call) -> Kernel | None:
    return MeanPooling(call) if floating(call) else None


class Side(NamedTuple):
    """The windows along one axis."""

    size: int
    out: int
    kernel: int
    stride: int
    pad: int

    @property
    def starts(self) -> Array:
        """Where each window begins; below 0 in the padding."""
        return np.arange(self.out) * self.stride - self.pad

    def pick(self, offset: int) -> tuple[slice, slice]:
        """The pixels at an offset of the windows that have one there, and those windows."""
        first = max(0, -(-(self.pad - offset) // self.stride))
        last = max(first, min(self.out, -(-(self.size + self.pad - offset) // self.stride)))
        start = first * self.stride - self.pad + offset
        return slice(start, start + (last - first) * self.stride, self.stride), slice(first, last)


class Pooling(Kernel):
    """What both have. Pairs are (height, width) here, the other way round than the op's."""

    def __init__(self, call: Call) -> None:
        op, x, y = call.op, call.ins[0], call.outs[0]
        pairs = (op.kernel[::-1], op.stride[::-1], op.pad[::-1])
        self.rows, self.columns = (Side(*sizes) for sizes in zip(x.shape[2:], y.shape[2:], *pairs, strict=True))
        self.overlaps = any(side.kernel > side.stride for side in (self.rows, self.columns))

    def picks(self) -> list[tuple[tuple[slice, ...], tuple[slice, ...]]]:
        """For each offset, in the order that decides ties, where its pixels are and for which outputs."""
        every = (slice(None), slice(None))
        found = []
        for i in range(self.rows.kernel):
            for j in range(self.columns.kernel):
                (rows, out_rows), (columns, out_columns) = self.rows.pick(i), self.columns.pick(j)
                found.append(((*every, rows, columns), (*every, out_rows, out_columns)))
        return found


class MaxPooling(Pooling):
    """With the index, pixels are first copied side by side: three contiguous passes cost less than one strided."""

    def __init__(self, call: Call) -> None:
        super().__init__(call)
        x, y = call.ins[0], call.outs[0]
        self.area = self.rows.kernel * self.columns.kernel
        code = "int8" if self.area < 128 else "int32"
        self.forward_workspace = (y.spec, *(Spec(y.shape, dtype) for dtype in (code, code, "bool")))
        self.backward_workspace = (Spec(y.shape, "int64"),)
        self.planes = np.arange(prod(x.shape[:2]))[:, np.newaxis] * prod(x.shape[2:])

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        x, (y, index, *scratch) = ins[0], outs
        clipped = any(y[out].shape != y.shape for _, out in self.picks())
        steps = Steps()
        if index is not None:
            self.record_index(steps, x, y, index, clipped, *scratch)
            return steps
        for number, (pixels, out) in enumerate(self.picks()):
            if number == 0 and not clipped:
                steps.do(np.copyto, y, x[pixels])
                continue
            if number == 0:
                steps.do(y.fill, -np.inf)
            steps.do(np.maximum, y[out], x[pixels], out=y[out])
        return steps

    def record_index(
        self, steps: Steps, x: Array, y: Array, index: Array, clipped: bool,
        pixel: Array, code: Array, candidate: Array, higher: Array,
    ) -> None:  # fmt: skip
        """Record the maxima and, as codes of offsets, where the first of them are; then index from code."""
        steps.do(np.copyto, code, self.first_codes())
        for number, (pixels, out) in enumerate(self.picks()):
            target = pixel if number else y
            if clipped:
                steps.do(target.fill, -np.inf)
            steps.do(np.copyto, target[out], x[pixels])
            if number:
                steps.do(np.greater, pixel, y, out=higher)
                steps.do(np.maximum, pixel, y, out=y)
                # Offsets come in rising order, so the latest that was higher has the highest code.
                steps.do(np.multiply, higher, code.dtype.type(number), out=candidate)
                steps.do(np.maximum, code, candidate, out=code)
        # index = start + (code // kw) * W + code % kw
        width, row = self.columns.kernel, self.columns.size
        steps.do(np.floor_divide, code, code.dtype.type(width), out=candidate)
        steps.do(np.multiply, candidate, np.int32(row - width), out=index)
        steps.do(np.add, index, code, out=index)
        start = self.rows.starts[:, np.newaxis] * row + self.columns.starts
        planes = index.reshape(-1, start.size)
        steps.do(np.add, planes, start.reshape(-1).astype(np.int32), out=planes)

    def first_codes(self) -> Array:
        """The code of each window's first pixel, which is there even if all are minus infinity or NaN."""
        row, column = (np.maximum(0, -side.starts) for side in (self.rows, self.columns))
        return row[:, np.newaxis] * self.columns.kernel + column

    def backward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        dy, index, (dx, position) = ins[0], ins[4], outs
        steps = Steps()
        if dx is None:
            return steps
        steps.do(np.add, index.reshape(len(self.planes), -1), self.planes, out=position.reshape(len(self.planes), -1))
        flat = dx.reshape(-1), position.reshape(-1), dy.reshape(-1)
        if not add[0]:
            steps.do(dx.fill, 0)
        steps.do(np.add.at if add[0] or self.overlaps else operator.setitem, *flat)
        return steps


class MeanPooling(Pooling):
    """The divisor is the area of the window clipped to the padded image."""

    def __init__(self, call: Call) -> None:
        super().__init__(call)
        self.backward_workspace = (call.outs[0].spec,)
        heights, widths = (
            np.minimum(side.starts + side.kernel, side.size + side.pad) - side.starts
            for side in (self.rows, self.columns)
        )
        self.divisor = (heights[:, np.newaxis] * widths).astype(call.ins[0].dtype)

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        x, y = ins[0], outs[0]
        steps = Steps()
        steps.do(y.fill, 0)
        for pixels, out in self.picks():
            steps.do(np.add, y[out], x[pixels], out=y[out])
        steps.do(np.divide, y, self.divisor, out=y)
        return steps

    def backward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        dy, (dx, share) = ins[0], outs
        steps = Steps()
        if dx is None:
            return steps
        steps.do(np.divide, dy, self.divisor, out=share)
        if not add[0]:
            steps.do(dx.fill, 0)
        for pixels, out in self.picks():
            steps.do(np.add, dx[pixels], share[out], out=dx[pixels])
        return steps
