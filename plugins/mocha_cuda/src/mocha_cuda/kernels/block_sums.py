"""`BlockSum`: kernels whose forward half is a sum over all of their blocks, in one launch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mocha_core.api import Spec
from mocha_cuda.compiled import THREADS, Buffers, CUDAKernel

if TYPE_CHECKING:
    from mocha_cuda.backend import CUDABackend

#: If no thread needs more turns than this, one block sums alone: several blocks would wait for the last.
TURNS = 8
#: The maximum number of blocks; one block adds their parts.
MOST_BLOCKS = 1024


def blocks_to_sum(threads: int) -> int:
    """The number of blocks for a sum. It depends only on the length, so that it is the same on every device."""
    turns = -(-threads // THREADS)
    return 1 if turns <= TURNS else min(turns, MOST_BLOCKS)


def tickets(backend: CUDABackend, n: int = 1) -> Any:
    """Counters for n sums of one bound kernel (csrc/block_sums.cuh). Each launch finds 0 and leaves 0.

    They are no workspace, because other steps write to shared workspaces.
    """
    array = backend.empty((n,), "uint32")
    backend.copy_from_numpy(array, np.zeros(n, np.uint32))
    return array


class BlockSum(CUDAKernel):
    """Several blocks write their parts of the sum to a workspace, the last of the outputs."""

    blocks: int

    def plan_sum(self, threads: int, dtype: str) -> None:
        """Set the length of the sum and its dtype."""
        self.blocks = blocks_to_sum(threads)
        self.forward_workspace = (Spec((self.blocks,), dtype),) if self.blocks > 1 else ()

    def parts(self, outs: Buffers) -> Buffers:
        """The workspace for the parts, and the ticket; one block needs neither."""
        return [outs[-1], tickets(self.backend)] if self.blocks > 1 else [None, None]
