"""Class indices of floating-point labels."""

from __future__ import annotations

from collections.abc import Sequence

from mocha_core.api import Runnable
from mocha_native.compiled import Buffers, NativeKernel, floating


class Labels(NativeKernel):
    """Converts labels to class indices, int32."""

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        return self.bind("labels_forward", [*ins, outs[0]], [ins[0].size, self.op.fault], serial=True)


labels = floating(Labels)
