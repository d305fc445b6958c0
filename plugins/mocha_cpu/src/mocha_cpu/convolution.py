"""Convolution as im2col and matrix products, one block of images at a time.

im2col and col2im copy runs of the length of an output row. With the images of a block side by side as lanes, as
(C, H, W, n), runs are n times longer, and a block is one matrix product per group. Converting blobs to lanes and
back takes time. If it takes more than lanes save, images stay as they are, and each has its own matrix product.
The weight gradient computes the columns again: this takes no longer than reading them from memory, and inference
and training need the same buffers.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import ceil, prod
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from mocha_core.api import Kernel, Runnable, Spec
from mocha_cpu.arrays import Array, Buffers, Steps, view

if TYPE_CHECKING:
    from mocha_core.api import Backend, Call

#: The bytes of columns in one block, with and without lanes. Larger blocks exceed the caches, smaller ones make
#: small matrix products. Measured on LeNet and the CIFAR-10 net.
BLOCK_BYTES = {True: 16 << 20, False: 4 << 20}


class Convolution(Kernel):
    """Blocks of blobs have the axes (many, C, H, W, wide), with many * wide images in a block: wide is 1 without
    lanes, many is 1 with lanes. Pairs are (height, width); the op's pairs are (width, height).
    """

    def __init__(self, backend: Backend, call: Call) -> None:
        op: Any = call.op
        (x, w, _), y = call.ins, call.outs[0]
        n, channels, *size = x.shape
        out = y.shape[2:]
        self.groups, self.filters, self.taps = op.n_group, w.shape[0], prod(w.shape[1:])
        self.kernel, self.stride, self.pad = op.kernel[::-1], op.stride[::-1], op.pad[::-1]
        self.padded = tuple(s + 2 * p for s, p in zip(size, self.pad, strict=True))
        #: Whether the columns are the input itself.
        self.pointwise = self.kernel == self.stride == (1, 1) and self.pad == (0, 0)
        self.lanes = not self.pointwise and channels * prod(self.kernel) > self.filters * out[1]

        columns = self.groups * self.taps * prod(out)
        most = max(1, BLOCK_BYTES[self.lanes] // (columns * np.dtype(x.dtype).itemsize))
        block = ceil(n / ceil(n / most))
        self.blocks = [slice(i, min(i + block, n)) for i in range(0, n, block)]
        image = channels * prod(self.padded) if self.lanes or self.pad != (0, 0) else 0
        result = self.filters * prod(out) if self.lanes else 0
        sizes = [block * image, block * columns, block * result]
        self.forward_workspace = tuple(Spec((s,), x.dtype) for s in sizes)
        sizes += [w.spec.size * (1 if self.lanes else block), w.spec.size, self.filters]
        self.backward_workspace = tuple(Spec((s,), x.dtype) for s in sizes)

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        x, w, b = ins
        y, image, columns, result = outs
        weights, bias = w.reshape(self.groups, -1, self.taps), b.reshape(self.groups, -1, 1)
        steps = Steps()
        for rows in self.blocks:
            matrix = self.gather(steps, x[rows], image, columns)
            blob = self.sides(y[rows])
            outputs = view(result, blob.shape) if self.lanes else blob
            products = self.per_group(outputs)
            steps.do(np.matmul, weights, matrix, out=products)
            steps.do(np.add, products, bias, out=products)
            if self.lanes:
                steps.do(np.copyto, blob, outputs)
        return steps

    def backward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        dy, x, w = ins[:3]
        dx, dw, db, image, columns, result, products, sum_w, sum_b = outs
        weights = w.reshape(self.groups, -1, self.taps)
        steps = Steps()
        for rows in self.blocks:
            blob = self.sides(dy[rows])
            outputs = view(result, blob.shape) if self.lanes else blob
            gradient = self.per_group(outputs)
            if self.lanes:
                steps.do(np.copyto, outputs, blob)
            if dw is not None:
                matrix = self.gather(steps, x[rows], image, columns)
                shares = view(products, (len(gradient), *weights.shape))
                steps.do(np.matmul, gradient, matrix.swapaxes(2, 3), out=shares)
                target = dw.reshape(weights.shape)
                scratch, adds = sum_w.reshape(weights.shape), add[1] or rows.start > 0
                steps.give(np.add.reduce, shares, axis=0, out=target, scratch=scratch, add=adds)
            if db is not None:
                target = db.reshape(self.groups, -1)
                scratch, adds = sum_b.reshape(target.shape), add[2] or rows.start > 0
                steps.give(np.add.reduce, gradient, axis=(0, 3), out=target, scratch=scratch, add=adds)
            if dx is not None:
                self.scatter(steps, weights.swapaxes(1, 2), gradient, dx[rows], image, columns, add[0])
        return steps

    def gather(self, steps: Steps, x: Array, image: Array, columns: Array) -> Array:
        """Record how a block of x becomes columns, of shape (many, groups, taps, oh * ow * wide)."""
        inputs = self.sides(x)
        if self.pointwise:
            return self.per_group(inputs)
        padded, inside = self.framed(inputs, image)
        if padded is not inputs:
            if self.pad != (0, 0):
                steps.do(padded.fill, 0)
            steps.do(np.copyto, inside, inputs)
        windows = self.windows(padded)
        target = view(columns, windows.shape)
        steps.do(np.copyto, target, windows)
        return self.per_group(target)

    def scatter(
        self, steps: Steps, weights: Array, gradient: Array, dx: Array, image: Array, columns: Array, add: bool
    ) -> None:
        """Record how a block of the output's gradient becomes, or is added to, the input's."""
        inputs = self.sides(dx)
        if self.pointwise and not add:
            steps.do(np.matmul, weights, gradient, out=self.per_group(inputs))
            return
        padded, inside = self.framed(inputs, image)
        windows = self.windows(padded)
        source = view(columns, windows.shape)
        steps.do(np.matmul, weights, gradient, out=self.per_group(source))
        if padded is not inputs or not add:
            steps.do(padded.fill, 0)
        for i, j in product(*map(range, self.kernel)):
            steps.do(np.add, windows[:, :, i, j], source[:, :, i, j], out=windows[:, :, i, j])
        if padded is not inputs:
            if add:
                steps.do(np.add, inputs, inside, out=inputs)
            else:
                steps.do(np.copyto, inputs, inside)

    def sides(self, blob: Array) -> Array:
        """A block of a blob, (images, C, H, W), seen as (many, C, H, W, wide)."""
        return blob.transpose(1, 2, 3, 0)[np.newaxis] if self.lanes else blob[..., np.newaxis]

    def framed(self, inputs: Array, image: Array) -> tuple[Array, Array]:
        """Room for a block of inputs with padding, and what is inside the padding."""
        many, channels, height, width, wide = inputs.shape
        if not image.size:
            return inputs, inputs
        padded = view(image, (many, channels, *self.padded, wide))
        top, left = self.pad
        return padded, padded[:, :, top : top + height, left : left + width]

    def windows(self, image: Array) -> Array:
        """All windows of (many, C, H, W, wide), as (many, C, kh, kw, oh, ow, wide)."""
        windows = sliding_window_view(image, self.kernel, axis=(2, 3), writeable=True)
        return windows[:, :, :: self.stride[0], :: self.stride[1]].transpose(0, 1, 5, 6, 2, 3, 4)

    def per_group(self, block: Array) -> Array:
        """A contiguous block, (many, channels, ..., H, W, wide), as matrices of each image and group."""
        return block.reshape(len(block), self.groups, -1, prod(block.shape[-3:]))
