"""Clipping of gradients: by their common norm, or by value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mocha_core.api import Runnable, Spec
from mocha_native._native import ffi
from mocha_native.compiled import Buffers, NativeKernel, Series, address

if TYPE_CHECKING:
    from mocha_core.api import Call
    from mocha_native.backend import NativeBackend


class Clipping(NativeKernel):
    """Clips any number of gradients; the C kernel finds them in a table of chunks."""

    def __init__(self, backend: NativeBackend, call: Call) -> None:
        super().__init__(backend, call)
        self.chunk = backend.isa.constants["clip_chunk"]
        self.n_chunks = sum(-(-value.spec.size // self.chunk) for value in call.ins)

    def chunks(self, gradients: Buffers) -> NDArray[Any]:
        """The table: the address of each chunk, and its number of elements."""
        parts = [
            flat[start : start + self.chunk]
            for flat in (gradient.reshape(-1) for gradient in gradients)
            for start in range(0, flat.size, self.chunk)
        ]
        return np.array([(int(ffi.cast("intptr_t", address(part))), part.size) for part in parts], np.int64)


class ClipNorm(Clipping):
    """Sums the squares of each chunk in parallel; then every thread computes the norm, and scales its share."""

    def __init__(self, backend: NativeBackend, call: Call) -> None:
        super().__init__(backend, call)
        self.forward_workspace = (Spec((self.n_chunks,), "float64"),)

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        chunks, norm, squares = self.chunks(ins), outs[0], outs[-1]
        sums = self.bind("clip_norm_squares", [chunks, squares], [len(chunks)])
        scaled = self.bind("clip_norm_forward", [chunks, squares, norm], [len(chunks)], [self.op.limit])
        return Series(sums, scaled)


class ClipValue(Clipping):
    """Threads share the chunks."""

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        chunks = self.chunks(ins)
        return self.bind("clip_value_forward", [chunks], [len(chunks)], [self.op.limit])


def clip_norm(backend: NativeBackend, call: Call) -> ClipNorm | None:
    """Declines gradients of different dtypes, and dtypes other than float32 and float64."""
    return ClipNorm(backend, call) if _alike(call) else None


def clip_value(backend: NativeBackend, call: Call) -> ClipValue | None:
    """As `clip_norm`."""
    return ClipValue(backend, call) if _alike(call) else None


def _alike(call: Call) -> bool:
    return {value.dtype for value in call.ins} in ({"float32"}, {"float64"})
