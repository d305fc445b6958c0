"""One use of an op, with a backend's kernel bound to buffers that begin at odd places and have guards around them."""

import numpy as np
from mocha_native.compiled import Compiled

from mocha_core.compile.layout import PLAIN, Convert
from mocha_core.compile.selection import Selector
from mocha_core.graph.plan import Call, Phase, Plan
from mocha_core.graph.value import Spec, Value
from mocha_core.plugin.manager import registries

GUARD = 64


class KernelUse:
    """Runs forward and backward of `op` on arrays; `add` says whether gradients are added to ones.

    Arrays are plain; they are converted to the layouts that the kernel wants, and back.
    """

    def __init__(self, backend, op, *inputs):
        plan = Plan(Phase.TRAIN, batch=1)
        self.ins = [self.place(array) for array in inputs]
        plan.call(op, *(Value(f"x{i}", a.shape, str(a.dtype)) for i, a in enumerate(self.ins)), layer="test")
        self.call: Call = plan.steps[0].call
        self.kernel = Selector(backend, registries()).choose(self.call)
        self.backend, self.layouts = backend, self.kernel.layouts
        results = self.call.outs[: len(self.call.outs) - len(op.updates)]
        self.y_layouts = [self.layouts.of_out(i) for i in range(len(results))]
        self.outs = [self.packed_room(v.shape, v.dtype, lay) for v, lay in zip(results, self.y_layouts)]
        self.outs += [self.ins[i] for i in op.updates]
        self.saves = [self.room(*spec) for spec in self.kernel.saves]

    def room(self, shape, dtype, value=0):
        return self.place(np.full(shape, value, dtype))

    def packed_room(self, shape, dtype, layout, value=0):
        return self.room(*layout.physical(Spec(shape, str(dtype))), value)

    def packed(self, array, layout, gradient=False):
        """A plain array in a layout."""
        if array is None or layout is PLAIN:
            return array
        target = self.packed_room(array.shape, array.dtype, layout)
        self.convert(layout, array, target, packing=True, gradient=gradient)
        return target

    def plain(self, array, value, layout):
        """An array in a layout as a plain one, of the shape and dtype of `value`."""
        if array is None or layout is PLAIN:
            return array
        target = self.room(value.shape, str(value.dtype))
        self.convert(layout, array, target, packing=False)
        return target

    def convert(self, layout, source, target, packing, gradient=False):
        op = Convert(PLAIN, layout, gradient) if packing else Convert(layout, PLAIN, gradient)
        shape = source.shape if packing else target.shape
        x, y = (Value(name, shape, str(source.dtype)) for name in "xy")
        kernel = Selector(self.backend, registries()).choose(Call(op, (x,), (y,)))
        kernel.forward([source], [target], [False])()
        self.check_guards()

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
            guard = np.array(77).astype(memory.dtype)
            assert (memory[:start] == guard).all()
            assert (memory[stop:] == guard).all()

    def run(self, runnable):
        assert isinstance(runnable, Compiled), "declined"
        runnable()
        self.check_guards()

    def forward(self):
        """The outputs, then the updated inputs."""
        workspace = [self.room(*spec) for spec in self.kernel.forward_workspace]
        ins = [self.packed(array, self.layouts.of_in(i)) for i, array in enumerate(self.ins)]
        self.run(self.kernel.forward(ins, self.outs + self.saves + workspace, [False] * len(self.outs)))
        return self.results()

    def results(self):
        """The outputs as plain arrays."""
        plain = [self.plain(*y) for y in zip(self.outs, self.call.outs, self.y_layouts)]
        return plain + self.outs[len(plain) :]

    def backward(self, *tops, add=False, wanted=None):
        """The gradients of the inputs, after `forward`."""
        op, call = self.call.op, self.call
        layouts = self.layouts
        x = [self.packed(v, layouts.of_in(i, True)) if op.reads("x", i) else None for i, v in enumerate(self.ins)]
        y = [v if op.reads("y", i) else None for i, v in enumerate(self.outs)]
        dy = [None if t is None else self.packed(self.place(t), lay, True) for t, lay in zip(tops, self.y_layouts)]
        dy += [None] * (len(call.outs) - len(tops))
        wanted = [v.dtype.kind == "f" for v in self.ins] if wanted is None else wanted
        if op.differentiable is not None:
            wanted = [w and i in op.differentiable for i, w in enumerate(wanted)]
        homes = [layouts.of_gradient(i) for i in range(len(self.ins))]
        grads = [
            self.packed_room(v.shape, v.dtype, home, 1) if w else None for v, w, home in zip(self.ins, wanted, homes)
        ]
        workspace = [self.room(*spec) for spec in self.kernel.backward_workspace]
        flags = [add and g is not None for g in grads]
        self.run(self.kernel.backward([*dy, *x, *y, *self.saves], grads + workspace, flags))
        return [self.plain(g, v, home) for g, v, home in zip(grads, self.ins, homes)]
