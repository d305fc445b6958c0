"""Dropout: Philox in preallocated buffers. Forward keeps the mask for backward."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from mocha_core.api import Kernel, Runnable, Spec
from mocha_cpu.arrays import Array, Buffers, Steps

if TYPE_CHECKING:
    from mocha_core.api import Backend, Call

# The constants of Philox4x32-10, see `mocha_core.api.uniform`.
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)
ROUNDS = 10
LOW = 0xFFFFFFFF


class Dropout(Kernel):
    """The mask of a kept element has all bits set, so that dropped elements become exactly zero, even if they are
    not finite.
    """

    def __init__(self, backend: Backend, call: Call) -> None:
        x = call.ins[0]
        self.op: Any = call.op
        self.rows, self.features = x.shape[0], prod(x.shape[1:])
        groups = -(-self.features // 4)
        self.bits = {"float32": "int32", "float64": "int64"}[x.dtype]
        self.saves = (Spec(x.shape, self.bits),)
        # Counters and products of Philox, then its four words side by side, and which of them keep.
        words = Spec((self.rows, groups, 4), "uint64")
        self.forward_workspace = (Spec((6, self.rows, groups), "uint64"), words, Spec(words.shape, "bool"))
        self.backward_workspace = (x.spec,)

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        (x, iteration, first_row), (y, mask, counters, words, keep) = ins, outs
        steps = Steps()
        self.record_words(steps, iteration, first_row, counters, words)
        # u > ratio, where u is a word's upper 24 bits times 2**-24 and the ratio is rounded as u is.
        threshold = int(np.floor(np.float32(self.op.ratio) * np.float32(2**24)))
        steps.do(np.greater, words, np.uint64((threshold << 8) + 255), out=keep)
        kept = keep.reshape(self.rows, -1)[:, : self.features]
        steps.do(np.multiply, kept, np.dtype(self.bits).type(-1), out=mask.reshape(kept.shape))
        self.record_masked(steps, x, mask, y)
        return steps

    def backward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        dy, mask, (dx, *_, scratch) = ins[0], ins[-1], outs
        steps = Steps()
        if dx is not None:
            self.record_masked(steps, dy, mask, scratch if add[0] else dx)
            if add[0]:
                steps.do(np.add, dx, scratch, out=dx)
        return steps

    def record_masked(self, steps: Steps, x: Array, mask: Array, out: Array) -> None:
        """Record out = x * factor where the mask keeps, else zero."""
        steps.do(np.multiply, x, 1 / (1 - self.op.ratio) if self.op.auto_scale else 1.0, out=out)
        bits = out.view(self.bits)
        steps.do(np.bitwise_and, bits, mask, out=bits)

    def record_words(self, steps: Steps, iteration: Array, first_row: Array, counters: Array, words: Array) -> None:
        """Record Philox4x32-10 as `mocha_core.api.uniform` does; the words of a counter end up side by side."""
        c0, c1, c2, c3, p0, p1 = counters
        groups = np.arange(c0.shape[1], dtype=np.uint64)
        rows = np.arange(c0.shape[0], dtype=np.uint64)[:, np.newaxis]
        steps.do(np.copyto, c0, groups)
        steps.do(np.copyto, c1, first_row, casting="unsafe")
        steps.do(np.add, c1, rows, out=c1)
        steps.do(c2.fill, self.op.stream)
        steps.do(np.copyto, c3, iteration, casting="unsafe")
        low, shift = np.uint64(LOW), np.uint64(32)
        multipliers = [np.uint64(m) for m in MULTIPLIERS]
        k0, k1 = self.op.seed & LOW, (self.op.seed >> 32) & LOW
        for _ in range(ROUNDS):
            steps.do(np.multiply, c0, multipliers[0], out=p0)
            steps.do(np.multiply, c2, multipliers[1], out=p1)
            for counter, key, p in ((c1, k0, p1), (c3, k1, p0)):
                steps.do(np.bitwise_xor, counter, np.uint64(key), out=counter)
                high = c0 if counter is c1 else c2
                steps.do(np.right_shift, p, shift, out=high)
                steps.do(np.bitwise_xor, high, counter, out=high)
            steps.do(np.bitwise_and, p1, low, out=c1)
            steps.do(np.bitwise_and, p0, low, out=c3)
            k0, k1 = (k0 + WEYL[0]) & LOW, (k1 + WEYL[1]) & LOW
        for number, counter in enumerate((c0, c1, c2, c3)):
            steps.do(np.copyto, words[:, :, number], counter)
