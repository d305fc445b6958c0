"""Toy convolution: stride 1, no padding, one group; x (N,C,H,W), w (F,C,K,K), b (F)."""

from __future__ import annotations

from mocha_core.describe.layer import TrainableLayer
from mocha_core.errors import ShapeError
from mocha_core.graph.op import Op
from mocha_core.graph.value import Spec
from toys.normal import L2, Constant, Normal


class Convolution(Op):
    name = "toy.convolution"
    backward_reads = ("x0", "x1")

    def infer(self, x, w, b):
        if len(x.shape) != 4:
            raise ShapeError(f"expected a bottom of four axes (N, C, H, W), received {x}.")
        (n, _, height, width), (filters, _, k, _) = x.shape, w.shape
        return (Spec((n, filters, height - k + 1, width - k + 1), x.dtype),)

    def forward(self, xp, x, w, b):
        y = xp.reshape(b, (1, b.shape[0], 1, 1))
        for patch, (i, j) in _patches(x, w):
            y = y + _channels_second(xp, xp.matmul(_channels_last(xp, patch), xp.permute_dims(w[:, :, i, j], (1, 0))))
        return y

    def backward(self, xp, dy, x, y, wanted):
        (d,), (x0, w, _) = dy, x
        last = _channels_last(xp, d)
        flat = xp.reshape(last, (-1, w.shape[0]))
        dx = xp.zeros_like(x0) if wanted[0] else None
        dw = xp.zeros_like(w) if wanted[1] else None
        for patch, (i, j) in _patches(x0, w):
            if dx is not None:
                rows, columns = slice(i, i + d.shape[2]), slice(j, j + d.shape[3])
                dx[:, :, rows, columns] += _channels_second(xp, xp.matmul(last, w[:, :, i, j]))
            if dw is not None:
                columns = xp.reshape(_channels_last(xp, patch), (-1, w.shape[1]))
                dw[:, :, i, j] = xp.matmul(xp.permute_dims(flat, (1, 0)), columns)
        return dx, dw, xp.sum(d, axis=(0, 2, 3)) if wanted[2] else None


def _patches(x, w):
    k = w.shape[2]
    height, width = x.shape[2] - k + 1, x.shape[3] - k + 1
    for i in range(k):
        for j in range(k):
            yield x[:, :, i : i + height, j : j + width], (i, j)


def _channels_last(xp, x):
    return xp.permute_dims(x, (0, 2, 3, 1))


def _channels_second(xp, x):
    return xp.permute_dims(x, (0, 3, 1, 2))


class ConvolutionLayer(TrainableLayer):
    n_filter: int
    kernel: int = 3

    def build(self, b, x):
        channels = x.shape[1] if len(x.shape) > 1 else 0
        shape = (self.n_filter, channels, self.kernel, self.kernel)
        w = b.param("filter", shape, Normal(), regularizer=L2())
        bias = b.param("bias", (self.n_filter,), Constant(0.3), multiplier=2.0)
        return b.call(Convolution(), x, w, bias)
