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
from mocha_cuda.kernels.sgd import merged
from mocha_cuda.program import CUDAProgram

if TYPE_CHECKING:
    from numpy.typing import NDArray

PRECISIONS = ("tf32", "float32", "bf16")


class CUDABackend(Backend):
    """Kernels of cuDNN, cuBLASLt and its own; what has none runs its reference on CuPy.

    Args:
        device: which GPU, counted from 0.
        precision: how float32 is multiplied in convolutions and inner products: "tf32" (10 bits of mantissa, as cuDNN's
            users expect), "float32" (all of them), "bf16" (7). Nets of float64 compute in float64 whatever it says.
        deterministic: only algorithms that give the same bytes each time.
        fuse: replace several steps by one where a registered fusion can; without, results differ in rounding only.

    Raises:
        BackendError: there is no such device, or something that it needs is missing.
        ConfigurationError: an option is none of these.
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
        #: Half of what is left now; the other half is for programs.
        self.resident_bytes = self.device.free_bytes() // 2

    def open(self, number: int) -> Any:
        """The device. Replaced where kernels are tested on the host."""
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
        """Makes the device and its stream the current ones."""
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
        """Steps captured as graphs; updates that follow each other are one launch."""
        return CUDAProgram(self, plan, merged(bound), arrangement, memory, storage)
