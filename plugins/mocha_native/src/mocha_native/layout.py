"""Layouts of blobs and parameters inside native programs, and the kernels that convert to them and back."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from math import prod
from typing import TYPE_CHECKING, TypeVar, cast
from weakref import WeakValueDictionary

import numpy as np

from mocha_core.api import PLAIN, Convert, Device, Layout, Runnable, Spec
from mocha_native.compiled import Array, Buffers, NativeKernel

if TYPE_CHECKING:
    from mocha_core.api import Call
    from mocha_native.backend import NativeBackend

L = TypeVar("L", bound=Layout)


def shared(kind: Callable[..., L]) -> Callable[..., L]:
    """Makes layouts that are the same object for the same arguments, as long as a program uses it.

    Layouts are compared by identity: kernels that share a parameter share its packed form.
    """
    living: WeakValueDictionary[tuple[object, ...], L] = WeakValueDictionary()

    def layout(*arguments: object) -> L:
        return living.setdefault(arguments, kind(*arguments))

    return layout


class CompiledLayout(Layout):
    """A layout with a conversion in C."""

    @abstractmethod
    def packing(self, kernel: Conversion, plain: Array, packed: Array, gradient: bool, add: bool) -> Runnable:
        """Binds the kernel that writes a plain array into a packed one, or adds it."""

    def unpacking(self, kernel: Conversion, packed: Array, plain: Array, add: bool) -> Runnable:
        """Binds the kernel for the way back, if there is one."""
        raise NotImplementedError(f"{self.name} has no way back")


class Lanes(CompiledLayout):
    """Batch-innermost: stores (N, ...) as (blocks, ..., width), one vector for one element of `width` samples.

    The last block is padded, with the last row or, in gradients, with zeros.
    """

    def __init__(self, width: int) -> None:
        self.width = width
        self.name = f"{width} lanes"

    def physical(self, spec: Spec) -> Spec:
        rows, *rest = spec.shape
        return Spec((-(-rows // self.width), *rest, self.width), spec.dtype)

    def pack(self, backend: Device, plain: Array, packed: Array, *, gradient: bool, add: bool) -> None:
        rows = len(plain)
        wide = plain[np.minimum(np.arange(len(packed) * self.width), rows - 1)]
        if gradient:
            wide[rows:] = 0
        value = np.moveaxis(wide.reshape(len(packed), self.width, *plain.shape[1:]), 1, -1)
        packed[...] = packed + value if add else value

    def unpack(self, backend: Device, packed: Array, plain: Array, *, add: bool) -> None:
        value = np.moveaxis(packed, -1, 1).reshape(-1, *plain.shape[1:])[: len(plain)]
        plain[...] = plain + value if add else value

    def packing(self, kernel: Conversion, plain: Array, packed: Array, gradient: bool, add: bool) -> Runnable:
        return kernel.bind("lanes_pack", [plain, packed], [len(plain), prod(plain.shape[1:]), add, gradient])

    def unpacking(self, kernel: Conversion, packed: Array, plain: Array, add: bool) -> Runnable:
        return kernel.bind("lanes_unpack", [packed, plain], [len(plain), prod(plain.shape[1:]), add])


class Conversion(NativeKernel):
    """Converts a plain value to a packed one, or back."""

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        op = cast(Convert, self.op)
        if op.target is PLAIN:
            return cast(CompiledLayout, op.source).unpacking(self, ins[0], outs[0], add[0])
        return cast(CompiledLayout, op.target).packing(self, ins[0], outs[0], op.gradient, add[0])


def convert(backend: NativeBackend, call: Call) -> Conversion | None:
    """Declines layouts of other plugins, and dtypes that no kernel here computes with."""
    op = cast(Convert, call.op)
    layout = op.source if op.target is PLAIN else op.target
    ours = isinstance(layout, CompiledLayout) and call.ins[0].dtype in ("float32", "float64")
    return Conversion(backend, call) if ours else None
