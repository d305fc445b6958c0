"""One use of an op, with a backend's kernel bound to buffers that begin at odd places and have guards around them."""

import numpy as np
from mocha_native.compiled import Compiled

from mocha_core.plan import Call, Phase, Plan
from mocha_core.plugins import registries
from mocha_core.selection import Selector
from mocha_core.value import Value

GUARD = 64


class KernelUse:
    """Runs forward and backward of `op` on arrays; `add` says whether gradients are added to ones."""

    def __init__(self, backend, op, *inputs):
        plan = Plan(Phase.TRAIN, batch=1)
        self.ins = [self.place(array) for array in inputs]
        plan.call(op, *(Value(f"x{i}", a.shape, str(a.dtype)) for i, a in enumerate(self.ins)), layer="test")
        self.call: Call = plan.steps[0].call
        self.kernel = Selector(backend, registries()).choose(self.call)
        results = self.call.outs[: len(self.call.outs) - len(op.updates)]
        self.outs = [self.room(v.shape, v.dtype) for v in results] + [self.ins[i] for i in op.updates]
        self.saves = [self.room(*spec) for spec in self.kernel.saves]

    def room(self, shape, dtype, value=0):
        return self.place(np.full(shape, value, dtype))

    def place(self, array):
        """A copy that begins one element after a multiple of 64 bytes, with guards."""
        array = np.asarray(array)
        memory = np.empty(array.size + 2 * GUARD, array.dtype)
        memory[:] = np.array(77).astype(array.dtype)
        start = GUARD - (memory.ctypes.data // array.itemsize) % GUARD % 16 + 1
        self.guards = [*getattr(self, "guards", []), (memory, start, start + array.size)]
        view = memory[start : start + array.size].reshape(array.shape)
        view[...] = array
        return view

    def check_guards(self):
        for memory, start, stop in self.guards:
            assert (memory[:start] == 77).all()
            assert (memory[stop:] == 77).all()

    def run(self, runnable):
        assert isinstance(runnable, Compiled), "declined"
        runnable()
        self.check_guards()

    def forward(self):
        """The outputs, then the updated inputs."""
        workspace = [self.room(*spec) for spec in self.kernel.forward_workspace]
        self.run(self.kernel.forward(self.ins, self.outs + self.saves + workspace, [False] * len(self.outs)))
        return self.outs

    def backward(self, *tops, add=False, wanted=None):
        """The gradients of the inputs, after `forward`."""
        op, call = self.call.op, self.call
        x = [v if op.reads("x", i) else None for i, v in enumerate(self.ins)]
        y = [v if op.reads("y", i) else None for i, v in enumerate(self.outs)]
        dy = [None if t is None else self.place(t) for t in tops] + [None] * (len(call.outs) - len(tops))
        wanted = [v.dtype.kind == "f" for v in self.ins] if wanted is None else wanted
        if op.differentiable is not None:
            wanted = [w and i in op.differentiable for i, w in enumerate(wanted)]
        grads = [self.room(v.shape, str(v.dtype), 1) if w else None for v, w in zip(self.ins, wanted)]
        workspace = [self.room(*spec) for spec in self.kernel.backward_workspace]
        flags = [add and g is not None for g in grads]
        self.run(self.kernel.backward([*dy, *x, *y, *self.saves], grads + workspace, flags))
        return grads
