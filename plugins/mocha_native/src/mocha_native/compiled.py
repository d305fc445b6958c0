"""`Compiled`: a C kernel bound to its operands."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from mocha_layers_std.rectified import RectifiedKernel
from numpy.typing import NDArray

from mocha_core.api import BackendError
from mocha_native._native import ffi, lib

if TYPE_CHECKING:
    from mocha_core.api import Call, Half
    from mocha_native.backend import NativeBackend
    from mocha_native.library import Library

Array = NDArray[Any]
#: As `mocha_core.api.Buffers`, without None: a kernel knows which buffers exist.
Buffers = Sequence[Any]


#: Programs whose iterations take fewer seconds run in one thread: meetings of several would take longer than they save.
#: With 0, all threads run always, as in tests.
WORTH = 3e-4


class Compiled:
    """A step of a compiled program. Calling it runs this step alone.

    Args:
        backend: what the step runs on.
        name: that of the C kernel, with the dtype at its end.
        buffers, sizes, numbers: its operands: at most 20, 32 and 8. None stands for a buffer that is not there,
            another step for its `mocha_step`, which the kernel calls.
        library: the extension that has the kernel; None: mocha-native.

    Attributes:
        kernel, args: the C function and its operands.
        serial: whether one thread runs it.
        meets: whether there is a barrier after it: the next step begins when all threads are done.
    """

    def __init__(
        self,
        backend: NativeBackend,
        name: str,
        buffers: Sequence[Array | Compiled | None],
        sizes: Sequence[int] = (),
        numbers: Sequence[float] = (),
        serial: bool = False,
        meets: bool = True,
        library: Library | None = None,
    ) -> None:
        self.name = name
        self.serial = serial
        self.meets = meets
        self.threads = backend.threads
        self.kernel = library.kernel(backend.isa, name) if library else backend.isa.kernel(name)
        self.args = ffi.new("mocha_args *")
        self._pace = ffi.new("mocha_pace *", {"worth": WORTH})
        # Kept alive: C has only their addresses.
        self._buffers = buffers
        self._called = [step_array([buffer]) if isinstance(buffer, Compiled) else None for buffer in buffers]
        for i, (buffer, step) in enumerate(zip(buffers, self._called, strict=True)):
            if buffer is not None:
                self.args.buffers[i] = address(buffer) if isinstance(buffer, np.ndarray) else step
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
        run.threads, run.pace = self.threads, self._pace[0]
        lib.mocha_advance(run)
        self._pace[0] = run.pace


class Series(Compiled):
    """Several C kernels, one after the other, as one step. A barrier follows the last of them."""

    def __init__(self, *parts: Compiled) -> None:
        self.name = " + ".join(part.name for part in parts)
        self.threads = parts[0].threads
        self._pace = ffi.new("mocha_pace *", {"worth": WORTH})
        self._parts = parts

    @property
    def parts(self) -> tuple[Compiled, ...]:
        return self._parts


def step_array(steps: Sequence[Compiled | None]) -> Any:
    """Steps for C; None stands for a step that Python runs. The array holds no reference to them."""
    array = ffi.new("mocha_step[]", len(steps))
    for i, step in enumerate(steps):
        if step is not None:
            follower = steps[i + 1] if i + 1 < len(steps) else None
            # No barrier between two serial steps: the same thread runs both.
            alone = step.serial and follower is not None and follower.serial
            meets = step.meets and not alone
            array[i] = {"kernel": step.kernel, "args": step.args, "serial": step.serial, "meets": meets}
    return array


class NativeKernel(RectifiedKernel):
    """A kernel for the dtype of the first input, float32 or float64.

    Attributes:
        library: the extension with its C kernels; None: mocha-native.
        folds_updates: whether `updating_backward` computes backward together with updates of its parameters.
        takes_epilogue: the halves that run `epilogue` on what they write to their first output, with `mocha_epilogue`.
        epilogue: an element-wise step, set before a half is bound.
    """

    library: ClassVar[Library | None] = None
    folds_updates: bool = False
    takes_epilogue: Collection[Half] = ()
    epilogue: Compiled | None = None

    def cost(self, trains: bool) -> float:
        """About the multiply-adds of vectors that forward takes, or both halves if the program trains. It decides about
        layouts, so that only kernels count which differ between them."""
        return 0.0

    def __init__(self, backend: NativeBackend, call: Call) -> None:
        self.backend = backend
        self.call = call
        self.op: Any = call.op
        self.dtype = call.ins[0].dtype

    def bind(
        self,
        name: str,
        buffers: Sequence[Array | Compiled | None],
        sizes: Sequence[int] = (),
        numbers: Sequence[float] = (),
        serial: bool = False,
        meets: bool = True,
    ) -> Compiled:
        """The C kernel `name` for the dtype, bound to its operands, which a comment above it lists."""
        return Compiled(self.backend, f"{name}_{self.dtype}", buffers, sizes, numbers, serial, meets, self.library)

    def updating_backward(
        self,
        ins: Buffers,
        outs: Buffers,
        add: Sequence[bool],
        mask: Array | None,
        floor: float,
        updates: Mapping[int, tuple[Array, Compiled]],
        status: tuple[Array, Array],
    ) -> Compiled:
        """As `bottom_masked`, or as `backward` if `mask` is None, with updates of inputs in place of their gradients.

        Args:
            updates: by the index of an input: the parameter, and its update, which is called block by block.
            status: the status, and the array that receives it before any update.
        """
        raise NotImplementedError(f"{type(self).__name__} folds no updates")


def floating(kernel: type[NativeKernel]) -> Callable[[NativeBackend, Call], NativeKernel | None]:
    """A builder of the kernel that declines unless the first input is float32 or float64."""

    def build(backend: NativeBackend, call: Call) -> NativeKernel | None:
        return kernel(backend, call) if call.ins[0].dtype in ("float32", "float64") else None

    return build


def address(array: Array, kind: str = "char[]") -> Any:
    """The address of an array, as a C array of that type. The result keeps the array alive.

    Raises:
        BackendError: the array is not C-ordered, or not aligned to its elements.
    """
    if not (array.flags.c_contiguous and array.flags.aligned):
        raise BackendError(
            f"A compiled kernel was bound to an array of shape {array.shape} and strides {array.strides}: expected one "
            "that is C-ordered and aligned. Place buffers with backend.empty, and view them by reshape."
        )
    return ffi.from_buffer(kind, array)  # takes a tenth of the time of array.ctypes.data
