"""Layouts: how a value lies in memory inside a program. Outside programs, all values are plain N,C,H,W."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from mocha_core.graph.array_api import Array
from mocha_core.graph.op import Op
from mocha_core.graph.value import Spec

if TYPE_CHECKING:
    from mocha_core.compile.device import Device


class Layout:
    """An arrangement of a value in memory. The base class is the plain, C-ordered one.

    A layout may pad the batch to a multiple of its vector width: `pack` fills the padding with copies of a real row, or
    with zeros for gradients, so that kernels can ignore it.
    """

    name = "plain"

    def physical(self, spec: Spec) -> Spec:
        """Shape and dtype of the memory that holds a value of `spec`."""
        return spec

    def pack(self, backend: Device, plain: Array, packed: Array, *, gradient: bool, add: bool) -> None:
        """Write the plain array's contents into `packed`, or add them; pad as the class describes."""
        raise NotImplementedError(f"{type(self).__name__} has no pack")

    def unpack(self, backend: Device, packed: Array, plain: Array, *, add: bool) -> None:
        """Write the packed contents, without padding, into `plain`, or add them to it."""
        raise NotImplementedError(f"{type(self).__name__} has no unpack")

    def __repr__(self) -> str:
        return self.name


PLAIN = Layout()


class Layouts(NamedTuple):
    """The layouts that a kernel wants for its inputs, its outputs, and the input gradients that it writes.

    Missing entries are plain. `gradients`, and `backward_ins` (the inputs that backward reads), default to `ins`.
    Gradients of outputs have the outputs' layout. With `follow`, the kernel uses the layout of its first input for all
    blobs, whatever it is; this suits element-wise kernels.
    """

    ins: tuple[Layout, ...] = ()
    outs: tuple[Layout, ...] = ()
    gradients: tuple[Layout, ...] | None = None
    follow: bool = False
    backward_ins: tuple[Layout, ...] | None = None

    def of_in(self, index: int, backward: bool = False) -> Layout:
        layouts = self.backward_ins if backward and self.backward_ins is not None else self.ins
        return layouts[index] if index < len(layouts) else PLAIN

    def of_out(self, index: int) -> Layout:
        return self.outs[index] if index < len(self.outs) else PLAIN

    def of_gradient(self, index: int) -> Layout:
        layouts = self.ins if self.gradients is None else self.gradients
        return layouts[index] if index < len(layouts) else PLAIN


ALL_PLAIN = Layouts()


class Convert(Op):
    """Converts a value to another layout. The compiler inserts it where a kernel wants another layout."""

    name = "mocha.convert"
    differentiable = ()
    source: Layout
    target: Layout
    gradient: bool

    def infer(self, x: Spec) -> tuple[Spec, ...]:
        return (x,)
