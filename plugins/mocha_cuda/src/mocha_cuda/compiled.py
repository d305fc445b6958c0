"""`CUDAKernel`: the base class of this plugin's kernels; `Launch`: one CUDA kernel, bound to its operands."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from mocha_layers_std.rectified import RectifiedKernel

from mocha_cuda.tables import Table

if TYPE_CHECKING:
    from mocha_core.api import Call
    from mocha_cuda.backend import CUDABackend

#: The dtypes that kernels compute with.
REALS = ("float32", "float64")
#: As `mocha_core.api.Buffers`, without None: a kernel knows which buffers exist.
Buffers = Sequence[Any]
#: The number of threads of a block and of a warp; the same as in csrc/mocha.cuh.
THREADS, WARP = 256, 32
#: The number of blocks for each multiprocessor, in kernels whose threads stride over elements.
BLOCKS = 16
#: The largest number of elements that the kernels' ints can count, with room for the strides of their threads.
MOST = 2**31 - 2**20


class Launch:
    """A kernel and its operands. A call puts the kernel into the stream of the current device.

    Args:
        backend: what it runs on.
        family: as `CUDAKernel.family`.
        name, dtype: the kernel's name, and the dtype that REAL stands for.
        blocks: how many blocks of 256 threads.
        operands: arrays, None, ints, floats and tables, as the kernel takes them: pointers, ints and doubles.
    """

    #: A key that is equal for launches that can be one, where one follows the other; None: this one stays alone.
    shared: Hashable = None

    def joined(self, others: Sequence[Any]) -> Launch:
        """One launch that does the work of this one and of the others, which have the same `shared`."""
        raise NotImplementedError(f"{type(self).__name__} joins no launches")

    def __init__(
        self, backend: CUDABackend, family: str | Path, name: str, dtype: str, blocks: int, operands: Buffers
    ) -> None:
        self.name = name
        self._device = backend.device
        self._kernel = self._device.kernel(family, name, dtype)
        self._grid = (max(1, blocks),)
        self._operands = operands  # keeps the arrays alive that tables point to
        self._arguments = tuple(map(_argument, operands))

    def __call__(self) -> None:
        self._device.launch(self._kernel, self._grid, THREADS, self._arguments)


def _argument(operand: Any) -> Any:
    """The argument as kernels take it: Python's numbers as ints and doubles, a table as its array."""
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
    """The number of blocks for this many threads. It is at least one, and limited, because threads stride."""
    return max(1, min(-(-threads // THREADS), BLOCKS * int(backend.device.multiprocessors)))


class CUDAKernel(RectifiedKernel):
    """A kernel whose steps a graph can hold.

    Attributes:
        family: the file with its CUDA kernels: a path, or the name of one in csrc/kernels/.
    """

    family: str | Path
    captured = True

    def __init__(self, backend: CUDABackend, call: Call) -> None:
        self.backend = backend
        self.call = call
        self.op: Any = call.op
        #: The dtype of its numbers.
        self.dtype = call.ins[0].dtype

    def bind(self, name: str, *operands: Any, threads: int = 0, blocks: int = 0) -> Launch:
        """A launch of a kernel of the family, for a number of threads (see `striding`) or an exact number of blocks."""
        blocks = blocks or striding(self.backend, threads)
        return Launch(self.backend, self.family, name, self.dtype, blocks, operands)


Made = TypeVar("Made", bound=CUDAKernel)


def served(kernel: Callable[[CUDABackend, Call], Made]) -> Callable[[CUDABackend, Call], Made | None]:
    """A builder that declines calls that kernels cannot compute: other dtypes, inputs of different dtypes that are not
    updated, and more elements than ints can count.
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
