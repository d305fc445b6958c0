"""`Kernel`: a fast pair of forward and backward for one use of an op, and how one is chosen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from mocha_core.compile.layout import ALL_PLAIN, Layouts
from mocha_core.errors import MochaError, PluginError
from mocha_core.graph.array_api import Array
from mocha_core.graph.plan import Call, Step
from mocha_core.graph.value import Spec

if TYPE_CHECKING:
    from mocha_core.compile.device import Device

#: A bound kernel: called without arguments, it computes.
Runnable = Callable[[], Any]
#: A function that makes a kernel for a call, or returns None if it does not support its shapes, dtypes or attributes.
Build = Callable[["Device", Call], "Kernel | None"]
#: Buffers in the order of the step's values; None where nothing is read or wanted.
Buffers = Sequence[Array | None]


class Kernel:
    """Both halves of one use of an op. Each half is bound to buffers once, which gives a function without arguments.

    A bound kernel overwrites `outs[i]`, or adds to it if `add[i]` is set. It allocates nothing: it declares the memory
    that it needs besides its operands, and the program allocates that. Buffers never move while it is bound.
    """

    #: The memory layouts of the operands.
    layouts: Layouts = ALL_PLAIN
    #: The specs of buffers that keep data from forward to backward. In forward, they follow the outputs in `outs`; in
    #: backward, they follow (*dy, *x, *y) in `ins`.
    saves: tuple[Spec, ...] = ()
    #: The specs of scratch buffers for one forward or backward step; they come last in `outs`.
    forward_workspace: tuple[Spec, ...] = ()
    backward_workspace: tuple[Spec, ...] = ()
    #: Whether it runs as Python on the host; a compiled program is split there.
    splits: bool = False
    #: Whether its bound halves only put work into the current stream of the device, on buffers that do not move, so
    #: that a graph of the device can record them.
    captured: bool = False
    #: The plugin that registered it; set when it is chosen.
    plugin: str = "reference"

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        """Bind the forward half. `outs` includes the inputs that the op updates."""
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def backward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        """Bind the backward half: `ins` is (*dy, *x, *y, *saves), `outs` the input gradients and workspace.

        One buffer may appear twice in `outs` (x * x); writing in order gives the right sum.
        """
        raise NotImplementedError(f"{type(self).__name__} has no backward")

    @property
    def label(self) -> str:
        """Its name in listings."""
        return type(self).__name__


class Reference(Kernel):
    """Runs an op's own pure functions, and stores or adds their results.

    Args:
        backend: whose `xp` the functions use.
        call: the use of an op.
        why: why no other kernel serves it, for listings.
    """

    def __init__(self, backend: Device, call: Call, why: str = "") -> None:
        self.xp = backend.xp
        self.call = call
        self.why = why

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        op, xp = self.call.op, self.xp

        def run() -> None:
            try:
                result = op.forward(xp, *ins)
                store(result if isinstance(result, tuple) else (result,), outs, add)
            except Exception as error:
                self._blame("forward", error)

        return run

    def backward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        op, xp = self.call.op, self.xp
        n_out, n_in = len(self.call.outs), len(self.call.ins)
        dy, x, y = ins[:n_out], ins[n_out : n_out + n_in], ins[n_out + n_in :]
        wanted = tuple(out is not None for out in outs)

        def run() -> None:
            try:
                store(op.backward(xp, dy, x, y, wanted), outs, add)
            except Exception as error:
                self._blame("backward", error)

        return run

    def _blame(self, half: str, error: Exception) -> NoReturn:
        if isinstance(error, MochaError | MemoryError):
            raise error
        what = f"Layer '{self.call.layer}': {half} of op '{self.call.op.name}'"
        raise PluginError(f"{what} failed: {type(error).__name__}: {error}. Fix the op.") from error

    @property
    def label(self) -> str:
        return f"reference of {self.call.op.name}" + (f", not traced: {self.why}" if self.why else "")


@dataclass(eq=False)
class BoundStep:
    """A step, the kernel that serves it, and the kernel bound to buffers."""

    step: Step
    kernel: Kernel
    run: Runnable


def store(results: Sequence[Array | None], outs: Buffers, add: Sequence[bool]) -> None:
    """Put each result into its buffer, or add it; a missing result is zero."""
    for result, out, adds in zip(results, outs, add, strict=True):
        if out is None:
            continue
        if adds:
            if result is not None:
                out[...] += result
        else:
            out[...] = 0 if result is None else result
