"""Kernels of updates that other kernels can call, for a gradient that is in cache and is never written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from mocha_layers_std.regularizers import penalty

from mocha_core.api import Runnable, Spec
from mocha_native.compiled import Array, Buffers, Compiled, NativeKernel, Series

if TYPE_CHECKING:
    from mocha_core.api import Call
    from mocha_native.backend import NativeBackend


class UpdateKernel(NativeKernel):
    """A kernel of an `UpdateOp` for any block of a parameter: as a step of its own, or folded into another one.

    The C kernel takes, as buffers, w, g, the slots, the cells, the status and the status before any update; as sizes,
    rows, columns, the elements from a row of w and of its slots to the next, and from one of g to the next, the fault
    (0: no check), and the number of slots; as numbers, those of `numbers`. It does nothing if the status before is a
    fault. Where a new value is not finite and there is a fault, it writes none of the block and sets the status.

    Attributes:
        entry: the name of the C kernel, without the dtype.
    """

    entry: str
    forward_workspace = (Spec((1,), "int32"),)

    def numbers(self) -> Sequence[float]:
        """The learning rate's multiplier, and the penalty's factors of w and of sign(w)."""
        return self.op.multiplier, *(penalty(self.op) or ())

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        before = outs[-1]
        return Series(keep_status(self.backend, ins[-1], before), self.block(ins, before))

    def block(self, ins: Buffers, before: Array) -> Compiled:
        """The kernel bound to a whole parameter, as one row; g is None if another kernel gives it block by block."""
        n, slots = ins[0].size, len(self.op.slots)
        return self.bind(self.entry, [*ins, before], [1, n, n, n, self.op.fault, slots], self.numbers())


def update(kernel: type[UpdateKernel]) -> Callable[[NativeBackend, Call], UpdateKernel | None]:
    """A builder of the kernel that declines constraints, and regularizers of other plugins."""

    def build(backend: NativeBackend, call: Call) -> UpdateKernel | None:
        op: Any = call.op
        served = penalty(op) is not None and call.ins[0].dtype in ("float32", "float64")
        return kernel(backend, call) if served else None

    return build


def keep_status(backend: NativeBackend, status: Array, before: Array, meets: bool = True) -> Compiled:
    """Copies the status, before an update sets it while other threads still have to read it."""
    return Compiled(backend, "update_status_float32", [status, before], serial=True, meets=meets)
