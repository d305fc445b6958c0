"""`BlockSum`: kernels whose forward half is a sum over all of their blocks, in one launch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mocha_core.api import Spec
from mocha_cuda.compiled import THREADS, Buffers, CUDAKernel

if TYPE_CHECKING:
    from mocha_cuda.backend import CUDABackend

#: Up to so many turns of a thread, one block sums alone: several would have to wait for the last.
TURNS = 8
#: At most; one block adds their parts.
MOST_BLOCKS = 1024


def blocks_to_sum(threads: int) -> int:
    """Blocks for a sum. Depends on its length only, so that it is the same on every device."""
    turns = -(-threads // THREADS)
    return 1 if turns <= TURNS else min(turns, MOST_BLOCKS)


def tickets(backend: CUDABackend, n: int = 1) -> Any:
    """For n sums of one bound kernel (csrc/block_sums.cuh): 0, as each launch finds and leaves them.

    Theirs alone, and no workspace: those are shared with other steps, which write what they like.
    """
    array = backend.empty((n,), "uint32")
    backend.copy_from_numpy(array, np.zeros(n, np.uint32))
    return array


class BlockSum(CUDAKernel):
    """Several blocks leave their parts of the sum in a workspace, the last of its outputs."""

    blocks: int

    def plan_sum(self, threads: int, dtype: str) -> None:
        """Say how long the sum is, and of what."""
        self.blocks = blocks_to_sum(threads)
        self.forward_workspace = (Spec((self.blocks,), dtype),) if self.blocks > 1 else ()

    def parts(self, outs: Buffers) -> Buffers:
        """Where the parts are left, and the ticket; one block needs neither."""
        return [outs[-1], tickets(self.backend)] if self.blocks > 1 else [None, None]
