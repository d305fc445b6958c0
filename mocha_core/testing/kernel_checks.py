"""Kernels against the reference of their op, bound to buffers as a program binds them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mocha_core.array_api import Array
from mocha_core.backend import Backend
from mocha_core.kernel import Kernel, Reference
from mocha_core.layout import PLAIN, Layout
from mocha_core.plan import Call
from mocha_core.plugins import registries
from mocha_core.registry import Entry
from mocha_core.testing.op_checks import OpCase, exact
from mocha_core.testing.tolerances import Tolerance, assert_close
from mocha_core.value import Spec

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: What buffers of whole numbers hold before a kernel writes them; those of floats hold NaN.
GARBAGE = 77


def kernels(case: OpCase, backend: Backend, dtype: str) -> list[tuple[str, Kernel]]:
    """Every kernel registered for the op that accepts the case, by plugin, and the reference."""
    call = case.call(dtype)
    entries: list[Entry] = []
    for family in (*backend.families(), "*"):
        entries += registries().kernels.find(case.op.name, family)
    built = [(entry.plugin, entry.load()(backend, call)) for entry in entries]
    return [(plugin, kernel) for plugin, kernel in built if kernel is not None] + [
        ("reference", Reference(backend, call))
    ]


class Bench:
    """Buffers for one kernel, in the layouts it asks for."""

    def __init__(self, backend: Backend, kernel: Kernel, call: Call, arrays: Sequence[NDArray[Any]]) -> None:
        self.backend = backend
        self.kernel = kernel
        self.call = call
        self.layouts = kernel.layouts
        self.x = [self.buffer(a, self.layouts.of_in(i)) for i, a in enumerate(arrays)]
        self.saves = [self.blank(spec) for spec in kernel.saves]

    def blank(self, spec: Spec, layout: Layout = PLAIN) -> Array:
        """A buffer full of NaN or garbage."""
        shape, dtype = layout.physical(spec)
        buffer = self.backend.empty(shape, dtype)
        nothing = np.nan if dtype.startswith("float") else GARBAGE
        self.backend.copy_from_numpy(buffer, np.full(shape, nothing, dtype))
        return buffer

    def buffer(self, array: NDArray[Any], layout: Layout = PLAIN, gradient: bool = False) -> Array:
        """A buffer that holds an array."""
        plain = self.backend.empty(array.shape, str(array.dtype))
        self.backend.copy_from_numpy(plain, array)
        if layout is PLAIN:
            return plain
        packed = self.blank(Spec(array.shape, str(array.dtype)), layout)
        layout.pack(self.backend, plain, packed, gradient=gradient, add=False)
        return packed

    def read(self, buffer: Array, spec: Spec, layout: Layout = PLAIN) -> NDArray[Any]:
        """A buffer's contents on the host."""
        if layout is PLAIN:
            return np.array(self.backend.to_numpy(buffer))
        plain = self.backend.empty(*spec)
        layout.unpack(self.backend, buffer, plain, add=False)
        return np.array(self.backend.to_numpy(plain))

    def forward(self, unread: Sequence[int] = ()) -> list[NDArray[Any] | None]:
        """Run the forward half into fresh buffers, which stay in `self.y`; None for outputs `unread`."""
        call, updates = self.call, self.call.op.updates
        made = len(call.outs) - len(updates)
        layouts = [self.layouts.of_out(i) for i in range(made)] + [self.layouts.of_in(i) for i in updates]
        self.y: list[Array | None] = [
            None if i in unread else self.blank(call.outs[i].spec, layouts[i]) for i in range(made)
        ]
        self.y += [self.x[i] for i in updates]
        workspace = [self.blank(spec) for spec in self.kernel.forward_workspace]
        run = self.kernel.forward(self.x, [*self.y, *self.saves, *workspace], [False] * len(call.outs))
        with self.backend.running():
            run()
            if not updates:
                run()
        return [
            None if buffer is None else self.read(buffer, value.spec, layout)
            for buffer, value, layout in zip(self.y, call.outs, layouts, strict=True)
        ]

    def backward(
        self, dy: Sequence[NDArray[Any] | None], wanted: Sequence[bool], start: Sequence[NDArray[Any] | None]
    ) -> list[NDArray[Any]]:
        """Run the backward half after `forward`; adds to the arrays in `start`, overwrites where None."""
        op, layouts = self.call.op, self.layouts
        gradients = [
            None if g is None else self.buffer(g, layouts.of_out(i), gradient=True) for i, g in enumerate(dy)
        ]
        x = [buffer if op.reads("x", i) else None for i, buffer in enumerate(self.x)]
        y = [buffer if op.reads("y", i) else None for i, buffer in enumerate(self.y)]
        outs: list[Array | None] = []
        for i, (value, want, begin) in enumerate(zip(self.call.ins, wanted, start, strict=True)):
            layout = layouts.of_gradient(i)
            blank = self.blank(value.spec, layout) if want and begin is None else None
            outs.append(self.buffer(begin, layout, gradient=True) if begin is not None else blank)
        workspace = [self.blank(spec) for spec in self.kernel.backward_workspace]
        add = [begin is not None for begin in start]
        run = self.kernel.backward([*gradients, *x, *y, *self.saves], [*outs, *workspace], add)
        with self.backend.running():
            run()
        return [
            self.read(buffer, value.spec, layouts.of_gradient(i))
            for i, (buffer, value) in enumerate(zip(outs, self.call.ins, strict=True))
            if buffer is not None
        ]


def check_kernel(
    case: OpCase, backend: Backend, kernel: Kernel, dtype: str, tolerances: Mapping[str, Tolerance]
) -> None:
    """A kernel computes what the reference does: overwriting and adding, all gradients and each alone.

    Outputs hold NaN before, saved outputs that nobody reads have no buffer, and inputs stay as they are.
    """
    arrays, results, gradients = exact(case, dtype)
    call, given, tolerance = case.call(dtype), case.arrays(dtype), tolerances[dtype]
    made = len(call.outs) - len(case.op.updates)
    for unread in ((), tuple(range(case.visible, made))):
        bench = Bench(backend, kernel, call, given)
        for i, (found, expected) in enumerate(zip(bench.forward(unread), results, strict=True)):
            if found is not None:
                what = f"output {i}" if i < made else f"input {case.op.updates[i - made]}, updated,"
                assert_close(
                    f"{what} without {unread}" if unread else what, found, expected, tolerance.outputs
                )
        check_unchanged(bench, given)
    if not any(case.wanted):
        return
    bench = Bench(backend, kernel, call, given)
    bench.forward()
    dy = case.output_gradients(dtype)
    indices = [i for i, want in enumerate(case.wanted) if want]
    for chosen in [indices] + ([[i] for i in indices] if len(indices) > 1 else []):
        for adds in (False, True):
            wanted = [i in chosen for i in range(len(arrays))]
            start = [
                np.full(a.shape, 0.5, a.dtype) if adds and w else None
                for a, w in zip(given, wanted, strict=True)
            ]
            for i, found in zip(chosen, bench.backward(dy, wanted, start), strict=True):
                expected = gradients[indices.index(i)] + (0.5 if adds else 0.0)
                what = f"gradient of input {i}, {'added' if adds else 'overwritten'}, of {chosen},"
                assert_close(what, found, expected, tolerance.gradients)
            check_unchanged(bench, given)


def check_unchanged(bench: Bench, given: Sequence[NDArray[Any]]) -> None:
    """Raise if a kernel has changed an input that its op does not update."""
    for i, (buffer, value) in enumerate(zip(bench.x, bench.call.ins, strict=True)):
        if i not in bench.call.op.updates:
            found = bench.read(buffer, value.spec, bench.layouts.of_in(i))
            if not np.array_equal(found, given[i]):
                raise AssertionError(f"input {i} was changed, but is not among the op's updates.")
