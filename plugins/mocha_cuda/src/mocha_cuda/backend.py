"""`CUDABackend`: an NVIDIA GPU."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import cached_property
from typing import TYPE_CHECKING, Any

from mocha_core.api import (
    Arrangement,
    Array,
    Backend,
    BoundStep,
    ConfigurationError,
    Memory,
    Plan,
    Program,
    Selector,
    Step,
    Storage,
    checks,
)
from mocha_cuda.cublaslt.matmuls import Matmuls
from mocha_cuda.cudnn.convolutions import Convolutions
from mocha_cuda.program import CUDAProgram
from mocha_cuda.update import merged

if TYPE_CHECKING:
    from numpy.typing import NDArray

PRECISIONS = ("tf32", "float32", "bf16")


class CUDABackend(Backend):
    """Runs kernels of cuDNN, cuBLASLt and its own. Ops without a kernel run their reference on CuPy.

    Args:
        device: the number of the GPU, counted from 0.
        precision: how convolutions and inner products multiply float32: "tf32" (10 bits of mantissa, as cuDNN's users
            expect), "float32" (all bits), "bf16" (7 bits). Nets of float64 always compute in float64.
        deterministic: use only algorithms that give the same bytes each time.
        fuse: replace several steps by one where a registered fusion can. Results without it differ only in rounding.

    Raises:
        BackendError: there is no such device, or a library or driver is missing.
        ConfigurationError: an option has another value.
    """

    name = "cuda"

    def __init__(
        self, device: int = 0, precision: str = "tf32", deterministic: bool = False, fuse: bool = True
    ) -> None:
        if precision not in PRECISIONS:
            raise ConfigurationError(
                f"System('cuda', precision=...): expected {', '.join(map(repr, PRECISIONS))}, received {precision!r}."
            )
        self.precision = precision
        self.deterministic = checks.instance("System", "deterministic", deterministic, bool, "True")
        self.fuses = checks.instance("System", "fuse", fuse, bool, "False")
        self.device = self.open(checks.integer("System", "device", device, 0, checks.MOST))
        self.xp = self.device.xp
        #: Half of the free memory; the other half is for programs.
        self.resident_bytes = self.device.free_bytes() // 2

    def open(self, number: int) -> Any:
        """The device. Tests that run kernels on the host override this method."""
        from mocha_cuda.device import Device

        return Device(number)

    @cached_property
    def matmuls(self) -> Matmuls:
        """cuBLASLt, loaded at the first use."""
        return Matmuls(self.device)

    @cached_property
    def convolutions(self) -> Convolutions:
        """cuDNN, loaded at the first use."""
        return Convolutions(self.device)

    def empty(self, shape: tuple[int, ...], dtype: str) -> Array:
        return self.device.empty(shape, dtype)

    def to_numpy(self, array: Array) -> NDArray[Any]:
        return self.device.to_numpy(array)  # type: ignore[no-any-return]

    def copy_from_numpy(self, array: Array, source: NDArray[Any]) -> None:
        self.device.copy_from_numpy(array, source)

    def running(self) -> AbstractContextManager[Any]:
        """A context in which the device and its stream are the current ones."""
        return self.device.running()  # type: ignore[no-any-return]

    def close(self) -> None:
        self.device.release()

    def free_bytes(self) -> int | None:
        return int(self.device.free_bytes())

    def fuse(self, plan: Plan, selector: Selector) -> list[Step]:
        return super().fuse(plan, selector) if self.fuses else list(plan.steps)

    def executor(
        self, plan: Plan, bound: list[BoundStep], arrangement: Arrangement, memory: Memory, storage: Storage
    ) -> Program:
        """Captures steps as graphs, and joins launches that follow each other and can be one."""
        return CUDAProgram(self, plan, merged(bound), arrangement, memory, storage)
