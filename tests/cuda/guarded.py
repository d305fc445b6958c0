"""One use of an op, its kernel on the host bound to arrays that have guards around them."""

import numpy as np
from host_backend import HostBackend
from mocha_cuda.compiled import CUDAKernel

from mocha_core.compile.selection import Selector
from mocha_core.graph.plan import Phase, Plan
from mocha_core.graph.value import Value
from mocha_core.plugin.manager import registries

GUARD = 64


def chosen(op, *inputs, backend=None):
    """The call, and its kernel; arrays or anything else with a shape and a dtype will do."""
    plan = Plan(Phase.TRAIN, batch=1)
    plan.call(op, *(Value(f"x{i}", a.shape, str(a.dtype)) for i, a in enumerate(inputs)), layer="test")
    call = plan.steps[0].call
    return call, Selector(backend or HostBackend(), registries()).choose(call)


class Guarded:
    """Runs an op of one input. Arrays begin `shift` elements after a multiple of 64 bytes."""

    def __init__(self, op, x, shift=0):
        self.shift, self.guards = shift, []
        self.call, self.kernel = chosen(op, x)
        assert isinstance(self.kernel, CUDAKernel), "declined"
        self.x = self.place(x)
        self.outs = [self.room(v.shape, v.dtype) for v in self.call.outs]

    def place(self, array):
        memory = np.full(array.size + 2 * GUARD, 77, array.dtype)
        start = -(memory.ctypes.data // array.itemsize) % (64 // array.itemsize) + self.shift
        self.guards.append((memory, start, start + array.size))
        view = memory[start : start + array.size].reshape(array.shape)
        view[...] = array
        return view

    def room(self, shape, dtype, value=1):
        return self.place(np.full(shape, value, dtype))

    def run(self, runnable):
        runnable()
        for memory, start, stop in self.guards:
            assert (memory[:start] == 77).all()
            assert (memory[stop:] == 77).all()

    def forward(self, floor=None):
        """The outputs; with `floor`, those of the kernel with a ReLU of the first."""
        operands = [self.x], self.outs, [False] * len(self.outs)
        kernel = self.kernel
        self.run(kernel.forward(*operands) if floor is None else kernel.rectified(*operands, floor))
        return [out.copy() for out in self.outs]

    def backward(self, dy, add=False, masked=None, mask=None, floor=0.0):
        """The gradient, after `forward`, added to ones or not; with "top_masked" or "bottom_masked", masked."""
        op, kernel = self.call.op, self.kernel
        ins = [self.place(dy), *[None] * op.saved, self.x if op.reads("x", 0) else None]
        ins += [out if op.reads("y", i) else None for i, out in enumerate(self.outs)]
        dx = self.room(self.x.shape, self.x.dtype)
        if masked:
            self.run(getattr(kernel, masked)(ins, [dx], [add], self.place(mask), floor))
        else:
            self.run(kernel.backward(ins, [dx], [add]))
        return dx
