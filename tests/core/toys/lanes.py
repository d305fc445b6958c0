"""Two toy layouts: batch-innermost lanes for blobs, and the first axis last for weights."""

from __future__ import annotations

import numpy as np

from mocha_core.compile.layout import Layout
from mocha_core.graph.value import Spec


class Lanes(Layout):
    """(N, ...) as (ceil(N / 4), ..., 4). Padding rows repeat the last row; of gradients, they are zeros."""

    name = "lanes"
    WIDTH = 4

    def physical(self, spec):
        return Spec((-(-spec.shape[0] // self.WIDTH), *spec.shape[1:], self.WIDTH), spec.dtype)

    def pack(self, backend, plain, packed, *, gradient, add):
        missing = -len(plain) % self.WIDTH
        last = np.repeat(plain[-1:], missing, axis=0)
        rows = np.concatenate([plain, np.zeros_like(last) if gradient else last])
        rows = np.moveaxis(rows.reshape(-1, self.WIDTH, *plain.shape[1:]), 1, -1)
        packed[...] = packed + rows if add else rows

    def unpack(self, backend, packed, plain, *, add):
        rows = np.moveaxis(packed, -1, 1).reshape(-1, *plain.shape[1:])[: len(plain)]
        plain[...] = plain + rows if add else rows


class Turned(Layout):
    """(M, ...) as (..., M). Counts how often it packs."""

    name = "turned"

    def __init__(self):
        self.packed = 0

    def physical(self, spec):
        return Spec((*spec.shape[1:], spec.shape[0]), spec.dtype)

    def pack(self, backend, plain, packed, *, gradient, add):
        self.packed += 1
        turned = np.moveaxis(plain, 0, -1)
        packed[...] = packed + turned if add else turned

    def unpack(self, backend, packed, plain, *, add):
        turned = np.moveaxis(packed, -1, 0)
        plain[...] = plain + turned if add else turned


LANES = Lanes()
