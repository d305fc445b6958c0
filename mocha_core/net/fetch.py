"""`Fetch`: the op of a data layer whose minibatches come from the host, and its kernel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from mocha_core.compile.device import Device
from mocha_core.compile.kernel import Buffers, Kernel, Runnable
from mocha_core.graph.op import Op
from mocha_core.graph.plan import Call
from mocha_core.graph.value import Spec
from mocha_core.net.feed import Feed


class Fetch(Op):
    """The next minibatch of a source on the host. Not pure: its kernel asks the feed."""

    name = "mocha.fetch"
    differentiable = ()
    feed: Feed
    specs: tuple[Spec, ...]

    def infer(self) -> tuple[Spec, ...]:
        return self.specs


class FetchKernel(Kernel):
    """Brings the feed's next minibatch into the tops of a data layer."""

    splits = True

    def __init__(self, backend: Device, call: Call) -> None:
        self.backend = backend
        self.op = cast(Fetch, call.op)

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        feed, batch, copy = self.op.feed, self.op.specs[0].shape[0], self.backend.copy_from_numpy
        there = [out for out in outs if out is not None]
        in_place = there if self.backend.arrays_on_host and len(there) == len(outs) else []

        def run() -> None:
            for out, array in zip(outs, feed.fetch(batch, in_place), strict=True):
                if out is not None and out is not array:
                    copy(out, array)

        return run
