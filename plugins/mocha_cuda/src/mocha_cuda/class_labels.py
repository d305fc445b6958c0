"""Class indices of floating-point labels."""

from __future__ import annotations

from collections.abc import Sequence

from mocha_core.api import Runnable
from mocha_cuda.compiled import Buffers, CUDAKernel, served


class Labels(CUDAKernel):
    """Converts labels to class indices, int32."""

    family = "class_labels"

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        n = ins[0].size
        return self.bind("labels_forward", *ins, outs[0], n, self.op.fault, threads=n)


labels = served(Labels)
