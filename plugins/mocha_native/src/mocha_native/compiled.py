"""`Compiled`: a C kernel bound to its operands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from mocha_layers_std.rectified import RectifiedKernel
from numpy.typing import NDArray

from mocha_core.api import BackendError
from mocha_native._native import ffi, lib

if TYPE_CHECKING:
    from mocha_core.api import Call
    from mocha_native.backend import NativeBackend

Array = NDArray[Any]
#: As `mocha_core.compile.kernel.Buffers`; a kernel knows which of them are there.
Buffers = Sequence[Any]


class Compiled:
    """A step of a compiled program. Called, it runs alone.

    Attributes:
        kernel, args: the C function and its operands.
        serial: one thread runs it.
        meets: what follows waits until all threads are done with it.
    """

    def __init__(
        self,
        backend: NativeBackend,
        name: str,
        buffers: Sequence[Array | None],
        sizes: Sequence[int] = (),
        numbers: Sequence[float] = (),
        serial: bool = False,
        meets: bool = True,
    ) -> None:
        self.name = name
        self.serial = serial
        self.meets = meets
        self.threads = backend.threads
        self.kernel = backend.isa.kernel(name)
        self.args = ffi.new("mocha_args *")
        self._buffers = buffers  # kept alive: C has only their addresses
        for i, buffer in enumerate(buffers):
            self.args.buffers[i] = ffi.NULL if buffer is None else address(buffer)
        for i, size in enumerate(sizes):
            self.args.sizes[i] = int(size)
        for i, number in enumerate(numbers):
            self.args.numbers[i] = float(number)

    @property
    def parts(self) -> tuple[Compiled, ...]:
        return (self,)

    def __call__(self) -> None:
        run = ffi.new("mocha_run *")
        steps = step_array(self.parts)
        run.steps, run.bounds = steps, [0, 0, *[len(self.parts)] * 3]
        run.iterations = run.minibatches = 1
        run.threads = self.threads
        lib.mocha_advance(run)


class Series(Compiled):
    """Several C kernels, one after the other, as one step. The last of them meets."""

    def __init__(self, *parts: Compiled) -> None:
        self.name = " + ".join(part.name for part in parts)
        self.threads = parts[0].threads
        self._parts = parts

    @property
    def parts(self) -> tuple[Compiled, ...]:
        return self._parts


def step_array(steps: Sequence[Compiled | None]) -> Any:
    """Steps for C; None stands for one that Python runs. Holds no reference to them."""
    array = ffi.new("mocha_step[]", len(steps))
    for i, step in enumerate(steps):
        if step is not None:
            follower = steps[i + 1] if i + 1 < len(steps) else None
            # What one thread does after what it did itself needs no meeting.
            alone = step.serial and follower is not None and follower.serial
            meets = step.meets and not alone
            array[i] = {"kernel": step.kernel, "args": step.args, "serial": step.serial, "meets": meets}
    return array


class NativeKernel(RectifiedKernel):
    """A kernel for one of the two floating dtypes, that of the first input."""

    def __init__(self, backend: NativeBackend, call: Call) -> None:
        self.backend = backend
        self.call = call
        self.op: Any = call.op
        self.dtype = call.ins[0].dtype

    def bind(
        self,
        name: str,
        buffers: Sequence[Array | None],
        sizes: Sequence[int] = (),
        numbers: Sequence[float] = (),
        serial: bool = False,
        meets: bool = True,
    ) -> Compiled:
        """The C kernel `name` for the dtype; csrc says which operands it takes."""
        return Compiled(self.backend, f"{name}_{self.dtype}", buffers, sizes, numbers, serial, meets)


def floating(kernel: type[NativeKernel]) -> Callable[[NativeBackend, Call], NativeKernel | None]:
    """What makes a kernel where the first input is of a floating dtype, and declines elsewhere."""

    def build(backend: NativeBackend, call: Call) -> NativeKernel | None:
        return kernel(backend, call) if call.ins[0].dtype in ("float32", "float64") else None

    return build


def address(array: Array, kind: str = "char[]") -> Any:
    """Where an array begins, as a C array of that type; holds the array.

    Raises:
        BackendError: it is not C-ordered, or not aligned to its elements.
    """
    if not (array.flags.c_contiguous and array.flags.aligned):
        raise BackendError(
            f"A compiled kernel was bound to an array of shape {array.shape} and strides {array.strides}: expected one "
            "that is C-ordered and aligned. Place buffers with backend.empty, and view them by reshape."
        )
    return ffi.from_buffer(kind, array)  # takes a tenth of the time of array.ctypes.data
