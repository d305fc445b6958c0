"""`Device`: where arrays live and are computed with. It is the half of a `Backend` that compiling builds on."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, Self

from mocha_core.errors import StateError
from mocha_core.graph.array_api import Array, Namespace
from mocha_core.plugin.construction import Constructed

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Device(metaclass=Constructed):
    """Memory, and an array namespace that computes in it.

    Required: `name`, `xp`, `empty`, `to_numpy`, `copy_from_numpy`.
    """

    #: Kernels are registered under this name, and under those of the ancestors.
    name: ClassVar[str]
    #: The array namespace (see `mocha_core.graph.array_api`).
    xp: Namespace
    #: Data sets up to this many bytes stay on the device, and minibatches are gathered there.
    resident_bytes: int = 0
    #: How many programs may run at once, each in a thread of its own.
    programs_at_once: int = 1
    #: Arrays are NumPy's, and a minibatch may be fetched into them at any time: one copy less.
    arrays_on_host: ClassVar[bool] = False
    #: Which plugin to take where several kernels or fusions are equal: op name to plugin.
    prefer: Mapping[str, str] = {}

    @abstractmethod
    def empty(self, shape: tuple[int, ...], dtype: str) -> Array:
        """A new C-ordered array. Slices of a one-dimensional one, reshaped, share its memory.

        Raises:
            MemoryError: it does not fit.
        """

    @abstractmethod
    def to_numpy(self, array: Array) -> NDArray[Any]:
        """A copy on the host; waits for everything that writes the array."""

    @abstractmethod
    def copy_from_numpy(self, array: Array, source: NDArray[Any]) -> None:
        """Overwrite `array` with a host array of the same shape, casting the dtype."""

    def running(self) -> AbstractContextManager[Any]:
        """Entered around every run of a program, and where new memory is cleared: to limit threads, or to choose a
        stream. May be entered again inside."""
        return nullcontext()

    def free_bytes(self) -> int | None:
        """How much memory can still be had; what needs more is refused before it is allocated. None: unknown."""
        return None

    def close(self) -> None:
        """Release what the backend holds."""

    def preferring(self, prefer: Mapping[str, str]) -> Self:
        """The same device with another `prefer`."""
        other = object.__new__(type(self))
        vars(other).update(vars(self))
        other.prefer = prefer
        return other

    def __reduce__(self) -> NoReturn:
        raise StateError(
            f"Backend '{self.name}' cannot be copied or pickled. Open another: mocha.System('{self.name}')."
        )

    def families(self) -> list[str]:
        """Names under which kernels are looked up: this class's and its ancestors'."""
        return list(dict.fromkeys(c.__dict__["name"] for c in type(self).__mro__ if "name" in c.__dict__))
