"""A step whose kernel is Python on the host: it sees plain arrays, and splits a compiled run."""

from __future__ import annotations

from mocha_core.compile.kernel import Kernel
from mocha_core.describe.layer import ComputationLayer
from mocha_core.graph.op import Op


class Half(Op):
    name = "toy.half"
    backward_reads = ()

    def infer(self, x):
        return (x,)

    def forward(self, xp, x):
        return 0.5 * x

    def backward(self, xp, dy, x, y, wanted):
        return (0.5 * dy[0],)


class HostHalf(Kernel):
    splits = True

    def __init__(self, backend, call):
        self.backend, self.shape = backend, call.ins[0].shape
        self.calls = 0

    def forward(self, ins, outs, add):
        return self._bind(ins[0], outs[0], add[0])

    def backward(self, ins, outs, add):
        return self._bind(ins[0], outs[0], add[0])

    def _bind(self, source, target, add):
        assert tuple(source.shape) == self.shape, "a Python step sees plain arrays"

        def run():
            self.calls += 1
            half = 0.5 * self.backend.to_numpy(source)
            self.backend.copy_from_numpy(target, self.backend.to_numpy(target) + half if add else half)

        return run


class HalfLayer(ComputationLayer):
    def build(self, b, x):
        return b.call(Half(), x)
