"""Convolution in lanes, forward and backward, with turned filters."""

from __future__ import annotations

import numpy as np

from mocha_core.compile.kernel import Kernel
from toys.blocked import store


class BlockedConvolution(Kernel):
    def __init__(self, backend):
        self.layouts = backend.weighted

    def forward(self, ins, outs, add):
        x, w, b = ins  # (B, C, H, W, L), (C, K, K, F), (F)

        def run():
            y = np.zeros_like(outs[0]) + b[:, None, None, None]
            for patch, i, j in _patches(x, w):
                y += np.einsum("bchwl,cf->bfhwl", patch, w[:, i, j])
            store(outs[0], y, add[0])

        return run

    def backward(self, ins, outs, add):
        d, x, w = ins[0], ins[1], ins[2]
        height, width = d.shape[2:4]

        def run():
            dx = np.zeros_like(x)
            dw = np.zeros((w.shape[3], *w.shape[:3]), w.dtype)
            for patch, i, j in _patches(x, w):
                dx[:, :, i : i + height, j : j + width] += np.einsum("bfhwl,cf->bchwl", d, w[:, i, j])
                dw[:, :, i, j] = np.einsum("bfhwl,bchwl->fc", d, patch)
            for target, result, adds in zip(outs, (dx, dw, d.sum(axis=(0, 2, 3, 4))), add, strict=True):
                store(target, result, adds)

        return run


def _patches(x, w):
    k = w.shape[1]
    height, width = x.shape[2] - k + 1, x.shape[3] - k + 1
    for i in range(k):
        for j in range(k):
            yield x[:, :, i : i + height, j : j + width], i, j


def build(backend, call):
    """Declines 1x1 filters."""
    return None if call.ins[1].shape[2] == 1 else BlockedConvolution(backend)
