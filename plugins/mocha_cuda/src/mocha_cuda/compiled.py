"""`CUDAKernel`: what the kernels of this plugin have in common; `Launch`: one of their CUDA kernels, bound."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from mocha_layers_std.rectified import RectifiedKernel

from mocha_cuda.tables import Table

if TYPE_CHECKING:
    from mocha_core.api import Call
    from mocha_cuda.backend import CUDABackend

#: What kernels compute with.
REALS = ("float32", "float64")
#: As `mocha_core.compile.kernel.Buffers`; a kernel knows which of them are there.
Buffers = Sequence[Any]
#: Threads of a block and of a warp, as csrc/mocha.cuh has them.
THREADS, WARP = 256, 32
#: Blocks for each multiprocessor, of kernels whose threads stride over elements.
BLOCKS = 16
#: Elements that the kernels' ints can count, with room for the strides of their threads.
MOST = 2**31 - 2**20


class Launch:
    """A kernel and its operands. Called in a running device, it puts the kernel into the stream."""

    def __init__(
        self, backend: CUDABackend, family: str, name: str, dtype: str, blocks: int, operands: Buffers
    ) -> None:
        self.name = name
        self._device = backend.device
        self._kernel = self._device.kernel(family, name, dtype)
        self._grid = (max(1, blocks),)
        self._operands = operands  # what tables point to stays alive
        self._arguments = tuple(map(_argument, operands))

    def __call__(self) -> None:
        self._device.launch(self._kernel, self._grid, THREADS, self._arguments)


def _argument(operand: Any) -> Any:
    """Python's numbers as what kernels take: ints and doubles; a table as its array."""
    if isinstance(operand, bool | int):
        return np.int32(operand)
    if isinstance(operand, Table):
        return operand.array
    return np.float64(operand) if isinstance(operand, float) else operand


class Series:
    """Several launches, one after the other."""

    def __init__(self, *parts: Callable[[], None]) -> None:
        self.parts = parts

    def __call__(self) -> None:
        for part in self.parts:
            part()


def striding(backend: CUDABackend, threads: int) -> int:
    """Blocks for so many threads, which may be fewer as they stride; one at least."""
    return max(1, min(-(-threads // THREADS), BLOCKS * int(backend.device.multiprocessors)))


class CUDAKernel(RectifiedKernel):
    """A kernel whose steps can be captured in a graph, unless it says otherwise (`splits`).

    Attributes:
        family: the file in csrc/ with its CUDA kernels.
    """

    family: str

    def __init__(self, backend: CUDABackend, call: Call) -> None:
        self.backend = backend
        self.call = call
        self.op: Any = call.op
        #: Of the numbers it computes with.
        self.dtype = call.ins[0].dtype

    def bind(self, name: str, *operands: Any, threads: int = 0, blocks: int = 0) -> Launch:
        """A kernel of the family for so many threads, see `striding`, or exactly so many blocks."""
        blocks = blocks or striding(self.backend, threads)
        return Launch(self.backend, self.family, name, self.dtype, blocks, operands)


Made = TypeVar("Made", bound=CUDAKernel)


def served(kernel: Callable[[CUDABackend, Call], Made]) -> Callable[[CUDABackend, Call], Made | None]:
    """A builder that declines what kernels cannot compute: other dtypes, a mixture of them in what is not updated, and
    more elements than ints can count.
    """

    def build(backend: CUDABackend, call: Call) -> Made | None:
        values, updates = (*call.ins, *call.outs), call.op.updates
        plain = [v for i, v in enumerate(call.ins) if i not in updates] + [*call.outs[: len(call.outs) - len(updates)]]
        dtype = call.ins[0].dtype
        mixed = any(value.dtype in REALS and value.dtype != dtype for value in plain)
        if dtype not in REALS or mixed or any(value.spec.size >= MOST for value in values):
            return None
        return kernel(backend, call)

    return build
