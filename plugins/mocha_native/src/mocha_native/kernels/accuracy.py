"""The statistic that counts right predictions."""

from __future__ import annotations

from collections.abc import Sequence

from mocha_core.api import Runnable
from mocha_native.compiled import Buffers, NativeKernel, floating
from mocha_native.kernels.softmax import sizes


class Accuracy(NativeKernel):
    """Adds the number of right predictions, and the number of labels, to the total."""

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        return self.bind("accuracy_forward", ins, [*sizes(self.call.ins[0]), self.op.fault], serial=True)


accuracy = floating(Accuracy)
