"""Checks of kernels against the reference of their op, bound to buffers as in a program."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from mocha_core.compile.backend import Backend
from mocha_core.compile.kernel import Kernel
from mocha_core.compile.layout import PLAIN, Layout
from mocha_core.compile.vector_program import Untraceable
from mocha_core.graph.array_api import Array
from mocha_core.graph.value import Spec
from mocha_core.plugin.manager import registries
from mocha_core.plugin.registry import ANY
from mocha_core.testing.backends import CheckedReference
from mocha_core.testing.op_case import OpCase
from mocha_core.testing.tolerances import assert_close

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: The contents of integer buffers before a kernel writes them; float buffers hold NaN.
GARBAGE = 77


def kernels(case: OpCase, backend: Backend, dtype: str) -> list[tuple[str, Kernel]]:
    """Every registered kernel that accepts the case, and the reference, each with the name of its plugin."""
    call, find = case.call(dtype), registries().kernels.find
    keys = product((*backend.families(), "*"), (case.op.name, ANY))
    entries = [entry for family, name in keys for entry in find(name, family)]
    built: list[tuple[str, Kernel]] = []
    for entry in entries:
        with suppress(Untraceable):
            if (kernel := entry.load()(backend, call)) is not None:
                built.append((entry.plugin, kernel))
    return [*built, ("reference", CheckedReference(backend, call))]


class Bench:
    """Buffers for one kernel, in the layouts that it asks for."""

    def __init__(self, case: OpCase, backend: Backend, kernel: Kernel, dtype: str) -> None:
        self.op, self.backend, self.kernel = case.op, backend, kernel
        self.call, self.layouts = case.call(dtype), kernel.layouts
        self.arrays = case.arrays(dtype)
        self.x = [self.buffer(a, self.layouts.of_in(i)) for i, a in enumerate(self.arrays)]
        self.y: list[Array | None] = []
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
        spec = Spec(array.shape, str(array.dtype))
        plain = self.backend.empty(*spec)
        self.backend.copy_from_numpy(plain, array)
        if layout is PLAIN:
            return plain
        packed = self.blank(spec, layout)
        layout.pack(self.backend, plain, packed, gradient=gradient, add=False)
        return packed

    def read(self, buffer: Array, spec: Spec, layout: Layout = PLAIN) -> NDArray[Any]:
        """A buffer's contents on the host."""
        plain = buffer
        if layout is not PLAIN:
            plain = self.backend.empty(*spec)
            layout.unpack(self.backend, buffer, plain, add=False)
        return np.array(self.backend.to_numpy(plain))

    def forward(self, unread: Sequence[int] = ()) -> list[NDArray[Any] | None]:
        """Run the forward half into blank buffers, `self.y`; the outputs `unread` have no buffer."""
        call, updates = self.call, self.op.updates
        made = len(call.outs) - len(updates)
        layouts = [self.layouts.of_out(i) for i in range(made)] + [self.layouts.of_in(i) for i in updates]
        self.y = [None if i in unread else self.blank(call.outs[i].spec, layouts[i]) for i in range(made)]
        self.y += [self.x[i] for i in updates]
        workspace = [self.blank(spec) for spec in self.kernel.forward_workspace]
        run = self.kernel.forward(self.x, [*self.y, *self.saves, *workspace], [False] * len(call.outs))
        with self.backend.running():
            # A bound kernel can run any number of times. Run it twice, unless it updates inputs.
            for _ in range(1 if updates else 2):
                run()
        operands = zip(self.y, call.outs, layouts, strict=True)
        return [None if buffer is None else self.read(buffer, v.spec, layout) for buffer, v, layout in operands]

    def backward_input(self, index: int) -> Array:
        """An input as backward reads it."""
        forward, backward = self.layouts.of_in(index), self.layouts.of_in(index, backward=True)
        return self.x[index] if backward is forward else self.buffer(self.arrays[index], backward)

    def backward(
        self, dy: Sequence[NDArray[Any] | None], chosen: Sequence[int], begin: float | None
    ) -> list[NDArray[Any]]:
        """Run the backward half for the gradients of the inputs `chosen`; add them to `begin`, unless it is None."""
        specs, layout_of = [v.spec for v in self.call.ins], self.layouts.of_gradient
        gradients = [
            None if g is None else self.buffer(g, self.layouts.of_out(i), gradient=True) for i, g in enumerate(dy)
        ]
        x = [self.backward_input(i) if self.op.reads("x", i) else None for i in range(len(self.x))]
        y = [buffer if self.op.reads("y", i) else None for i, buffer in enumerate(self.y)]
        outs: list[Array | None] = [None] * len(specs)
        for i in chosen:
            blank = np.full(specs[i].shape, np.nan if begin is None else begin, specs[i].dtype)
            outs[i] = self.buffer(blank, layout_of(i), gradient=True)
        workspace = [self.blank(spec) for spec in self.kernel.backward_workspace]
        add = [begin is not None and i in chosen for i in range(len(specs))]
        run = self.kernel.backward([*gradients, *x, *y, *self.saves], [*outs, *workspace], add)
        with self.backend.running():
            run()
        for i, (given, buffer) in enumerate(zip(dy, gradients, strict=True)):
            if given is not None and not np.array_equal(
                self.read(buffer, self.call.outs[i].spec, self.layouts.of_out(i)), given
            ):
                raise AssertionError(f"the gradient of output {i} was changed by backward, which reads it.")
        return [self.read(outs[i], specs[i], layout_of(i)) for i in chosen]

    def check_unchanged(self) -> None:
        """Raise if an input changed that the op does not update."""
        for i in set(range(len(self.x))) - set(self.op.updates):
            found, given = self.x[i], self.buffer(self.arrays[i], self.layouts.of_in(i))
            if not np.array_equal(self.backend.to_numpy(found), self.backend.to_numpy(given), equal_nan=True):
                raise AssertionError(f"input {i} was changed, but is not among the op's updates.")


def check_kernel(case: OpCase, backend: Backend, kernel: Kernel, dtype: str, tolerance: float) -> None:
    """A kernel gives the reference's results in float64: overwriting and adding, all gradients and each alone.

    Outputs hold NaN at first, saved outputs that no step reads have no buffer, inputs must not change, and backward
    gets only the operands that `backward_reads` lists.
    """
    results, gradients = case.exact(dtype)
    saved = range(case.visible, len(results) - len(case.op.updates))
    for unread in (saved, ()):
        bench = Bench(case, backend, kernel, dtype)
        outputs = bench.forward(unread)
        bench.check_unchanged()
        for i, (found, expected) in enumerate(zip(outputs, results, strict=True)):
            if found is not None:
                assert_close(f"result {i} of forward without {[*unread]}", found, expected, tolerance)
    wanted, dy = [i for i, want in enumerate(case.wanted) if want], case.output_gradients(dtype)
    for chosen in [wanted, *([i] for i in wanted)] if wanted else []:
        for begin in (None, 0.5):
            for i, found in zip(chosen, bench.backward(dy, chosen, begin), strict=True):
                what = f"gradient of input {i}, {'added' if begin else 'overwritten'}, when {chosen} are wanted,"
                assert_close(what, found, gradients[wanted.index(i)] + (begin or 0.0), tolerance)
            bench.check_unchanged()


def check_deterministic(case: OpCase, backend: Backend, kernel: Kernel, dtype: str) -> None:
    """The same inputs give the same bits."""
    wanted, dy = [i for i, want in enumerate(case.wanted) if want], case.output_gradients(dtype)
    runs = []
    for _ in range(2):
        bench = Bench(case, backend, kernel, dtype)
        runs.append([*bench.forward(), *(bench.backward(dy, wanted, None) if wanted else [])])
    for i, (first, second) in enumerate(zip(*runs, strict=True)):
        if first is not None and second is not None and first.tobytes() != second.tobytes():
            raise AssertionError(f"result {i} of forward and backward has other bits in a second run.")
