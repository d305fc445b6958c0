"""`Op`: a named differentiable computation, with its pure reference implementation on the array API."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, dataclass_transform

from mocha_core.graph.array_api import Array, Arrays, Gradients, Namespace
from mocha_core.graph.value import Spec
from mocha_core.plugin.construction import Constructed


@dataclass_transform(frozen_default=True)
class Op(metaclass=Constructed):
    """A named computation and its gradient. Subclasses become frozen dataclasses; fields are the attributes.

    The class is its own reference kernel: `forward` and `backward` are pure functions of arrays, written on
    `mocha_core.graph.array_api`, and therefore run on every backend. They never write their inputs and never keep
    anything on `self`. What backward needs besides inputs and outputs, forward returns as a saved output.
    """

    #: Kernels and fusions are registered under this name. Prefix it with your package's name.
    name: ClassVar[str]
    #: What `backward` reads: "x" (all inputs), "y" (all outputs), or single ones: "x0", "y1".
    backward_reads: ClassVar[tuple[str, ...]] = ("x", "y")
    #: Indices of inputs that forward overwrites: running statistics, solver slots, status cells. The new
    #: contents are returned after all outputs, in this order.
    updates: ClassVar[tuple[int, ...]] = ()
    #: Indices of the inputs that have a gradient; None: all of them.
    differentiable: ClassVar[tuple[int, ...] | None] = None
    #: Indices of inputs whose gradient is that of the first output itself, as of a sum: it need not be copied.
    passes_gradient: ClassVar[tuple[int, ...]] = ()
    #: How many of the outputs, at the end, are saved for backward only.
    saved: ClassVar[int] = 0
    #: Set it if an output has as many rows as an input, but not in the same order: a shuffle, or time before samples.
    #: (If the numbers of rows differ, the samples count as mixed in any case.)
    mixes_rows: ClassVar[bool] = False

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        dataclass(frozen=True)(cls)

    @abstractmethod
    def infer(self, *x: Any, **_: Any) -> tuple[Spec, ...]:
        """Specs of the outputs (saved ones last) from the `Spec`s of the inputs, one argument each.

        Raises:
            ShapeError: the inputs do not fit. Say what was expected and what was received; the caller adds the
                layer's name.
        """

    def forward(self, xp: Namespace, *x: Any, **_: Any) -> Array | tuple[Array, ...]:
        """Compute the outputs, then the new contents of the inputs in `updates`, from the inputs.

        An op that only kernels compute, such as a fused one, leaves this out.
        """
        raise NotImplementedError

    def backward(self, xp: Namespace, dy: Arrays, x: Arrays, y: Arrays, wanted: Sequence[bool]) -> Gradients:
        """Gradients of the inputs, one each; None where `wanted` is false or where it is zero.

        Args:
            xp: the array namespace.
            dy: gradients of the outputs; None for an output that does not reach the objective.
            x: the inputs; None where `backward_reads` does not list them.
            y: the outputs and then the updated inputs; None where `backward_reads` does not list them.
            wanted: which input gradients are needed.
        """
        raise NotImplementedError

    def explain(self, *x: Array) -> str:
        """Describe the fault of the inputs, after this op has set the status cell.

        The arguments are NumPy arrays on the host; None stands for an input whose memory was reused.
        """
        return "the kernel reported invalid input"

    def reads(self, kind: str, index: int) -> bool:
        """Whether backward reads input (`kind` "x") or output ("y") number `index`."""
        return kind in self.backward_reads or f"{kind}{index}" in self.backward_reads

    @property
    def title(self) -> str:
        """Its name in listings."""
        return self.name

    @property
    def has_reference(self) -> bool:
        return type(self).forward is not Op.forward

    @property
    def has_backward(self) -> bool:
        return type(self).backward is not Op.backward
