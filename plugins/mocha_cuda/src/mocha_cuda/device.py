"""`Device`: all that Mocha uses of a GPU, through CuPy."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any

import cupy
import numpy as np

from mocha_core.api import Array, BackendError
from mocha_cuda import nvrtc
from mocha_cuda.staging import Staging

if TYPE_CHECKING:
    from numpy.typing import NDArray


#: The arguments of a kernel, in order: arrays or None, then NumPy scalars.
Arguments = Sequence[Any]
NULL = np.uint64(0)
#: The exceptions of CuPy for errors of CUDA.
FAILURES = (cupy.cuda.runtime.CUDARuntimeError, cupy.cuda.driver.CUDADriverError)


@contextmanager
def _no_garbage_collected() -> Iterator[None]:
    """Turns garbage collection off: destroying an old object, such as a handle of cuBLASLt, may end a recording."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


class Device:
    """One GPU, and the stream in which all work of a backend runs.

    The stream synchronizes with CuPy's default one both ways, so that arrays may be used outside of programs.

    Raises:
        BackendError: there is no such device, or it cannot be used; the message says why.
    """

    xp = cupy

    def __init__(self, number: int) -> None:
        count = cupy.cuda.runtime.getDeviceCount()
        if not 0 <= number < count:
            raise BackendError(f"device={number}: expected 0 to {count - 1}, this machine has {count} CUDA devices.")
        self.number = number
        self._device = cupy.cuda.Device(number)
        try:
            with self._device:
                properties = cupy.cuda.runtime.getDeviceProperties(number)
                self.stream = cupy.cuda.Stream()
                self._staging = Staging(self)
        except FAILURES as error:
            raise BackendError(
                f"device={number} cannot be used: {error}. See with nvidia-smi whether another process has it alone."
            ) from error
        #: Such as "NVIDIA H200".
        self.name = properties["name"].decode()
        #: 90 for sm_90.
        self.architecture = 10 * properties["major"] + properties["minor"]
        self.multiprocessors = int(properties["multiProcessorCount"])
        self.driver = int(cupy.cuda.runtime.driverGetVersion())
        self._lock = RLock()
        self._guard: Array | None = None
        self._modules: dict[tuple[str | Path, str], Any] = {}
        self.kernel = cache(self._kernel)

    @contextmanager
    def running(self) -> Iterator[None]:
        """A context around all work of this device. Threads take turns, so that none records the work of another.

        Raises:
            BackendError: CUDA reports a failure, possibly of earlier work in the stream.
        """
        try:
            # After a CUDA error, restoring the previous device on exit fails too; this `try` therefore encloses the
            # `with`.
            with self._lock, self._device, self.stream:
                yield
        except FAILURES as error:
            raise BackendError(
                f"{self.name}, device={self.number}: CUDA failed: {error}. CUDA reports errors late: with "
                "MOCHA_CUDA_GRAPHS=0 and CUDA_LAUNCH_BLOCKING=1 in the environment, the traceback ends at the launch "
                "that failed. The contents of the device may be lost: resume in a new process, from the last snapshot."
            ) from error

    def empty(self, shape: tuple[int, ...], dtype: str) -> Array:
        """An uninitialised array. Raises `MemoryError` if it does not fit.

        CuPy reuses freed memory only for the stream for which it was allocated.
        """
        with self.running():
            return cupy.empty(shape, dtype)

    def to_numpy(self, array: Array) -> NDArray[Any]:
        """A copy on the host; waits for all earlier work."""
        with self.running():
            return np.asarray(cupy.asnumpy(array))

    def copy_from_numpy(self, array: Array, source: NDArray[Any]) -> None:
        """Overwrite an array, casting the dtype; `source` may change as soon as this returns."""
        with self.running():
            self._staging.upload(array, source, self._guard)

    def address(self, array: Array) -> int:
        """The address of an array, for kernels that read tables of addresses."""
        return int(array.data.ptr)

    @contextmanager
    def guarded(self, status: Array | None) -> Iterator[None]:
        """A context in which uploads leave their target unchanged if the status cell holds a fault when they arrive."""
        self._guard = status
        try:
            yield
        finally:
            self._guard = None

    def free_bytes(self) -> int:
        """The free memory of the driver plus the unused memory in CuPy's pool."""
        with self._device:
            free, _ = cupy.cuda.runtime.memGetInfo()
            return int(free + cupy.get_default_memory_pool().free_bytes())

    def release(self) -> None:
        """Return unused memory to CUDA: other libraries and processes cannot take it from CuPy's pool."""
        with self.running():
            self.stream.synchronize()
            cupy.get_default_memory_pool().free_all_blocks(self.stream)

    def _kernel(self, family: str | Path, name: str, dtype: str) -> Any:
        """The kernel `name` of `nvrtc.source_of(family)`, compiled for this device."""
        with self._device:
            if (family, dtype) not in self._modules:
                self._modules[family, dtype] = self._module(family, nvrtc.code(family, dtype, self.architecture))
            return self._modules[family, dtype].get_function(name)

    def _module(self, family: str | Path, code: bytes) -> Any:
        module = cupy.cuda.function.Module()
        try:
            module.load(code)
        except cupy.cuda.driver.CUDADriverError as error:
            raise BackendError(
                f"{self.name}, device={self.number}: its driver, for CUDA {dotted(self.driver)}, does not load the "
                f"kernels '{nvrtc.source_of(family).name}', made by NVRTC {'.'.join(map(str, nvrtc.version()))} for "
                f"{nvrtc.target(self.architecture)}: {error}. If it cannot read them, update the driver, or install an "
                "older CUDA with the plugin's extra for your driver: pip install 'mocha-cuda[cuda13]' (driver 580 or "
                "newer), or [cuda12]."
            ) from error
        return module

    def launch(self, kernel: Any, grid: tuple[int, ...], block: int, arguments: Arguments) -> None:
        """Put a kernel into the stream. The caller has made the stream the current one."""
        kernel(grid, (block,), tuple(NULL if argument is None else argument for argument in arguments))

    def record(self, run: Callable[[], None]) -> Callable[[], None]:
        """Record the work that `run` puts into the stream. The result is a graph; a call puts it into the stream."""
        with self.running(), _no_garbage_collected():
            self.stream.begin_capture()
            try:
                run()
            finally:
                graph = self.stream.end_capture()
            graph.upload(self.stream)
        return lambda: graph.launch(self.stream)

    def milliseconds(self, run: Callable[[], None]) -> float:
        """The time of the device for the work that `run` puts into the stream. The stream is the current one."""
        start, end = cupy.cuda.Event(), cupy.cuda.Event()
        start.record(self.stream)
        run()
        end.record(self.stream)
        end.synchronize()
        return float(cupy.cuda.get_elapsed_time(start, end))


def dotted(version: int) -> str:
    """A version of CUDA with dots: 13.2 for 13020."""
    return f"{version // 1000}.{version % 1000 // 10}"
