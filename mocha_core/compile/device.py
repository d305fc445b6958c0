"""`Device`: memory and an array namespace. It is the part of a `Backend` that kernels use."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, Self

from mocha_core.errors import StateError
from mocha_core.graph.array_api import Array, Namespace
from mocha_core.host import memory as host_memory
from mocha_core.plugin.construction import Constructed

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Device(metaclass=Constructed):
    """Memory, and an array namespace that computes in it.

    Required: `name`, `xp`, `empty`, `to_numpy`, `copy_from_numpy`.
    """

    #: Kernels for this backend are registered under this name, or under the name of a base class.
    name: ClassVar[str]
    #: The array namespace (see `mocha_core.graph.array_api`).
    xp: Namespace
    #: Data sets up to this many bytes stay on the device, and minibatches are gathered there.
    resident_bytes: int = 0
    #: How many programs may run at once, each in its own thread.
    programs_at_once: int = 1
    #: The most images that `predict` computes at once where a minibatch takes about as long as two of half the size: it
    #: then divides them, and fills up fewer. 0: a large minibatch takes less.
    images_at_once: int = 0
    #: Whether arrays are NumPy arrays that a minibatch may be fetched into at any time, which saves a copy.
    arrays_on_host: ClassVar[bool] = False
    #: For an op, by name, the plugin to choose among kernels or fusions of equal priority.
    prefer: Mapping[str, str] = {}

    @abstractmethod
    def empty(self, shape: tuple[int, ...], dtype: str) -> Array:
        """A new C-ordered array. A reshaped slice of a one-dimensional array shares its memory.

        Raises:
            MemoryError: it does not fit.
        """

    @abstractmethod
    def to_numpy(self, array: Array) -> NDArray[Any]:
        """A copy on the host; waits for all queued work that writes the array."""

    @abstractmethod
    def copy_from_numpy(self, array: Array, source: NDArray[Any]) -> None:
        """Overwrite `array` with a host array of the same shape, casting the dtype."""

    def running(self) -> AbstractContextManager[Any]:
        """Every run of a program, and the clearing of new memory, enters this context: it limits threads, or chooses
        a stream. It may be entered again inside."""
        return nullcontext()

    def free_bytes(self) -> int | None:
        """The bytes that can still be allocated; larger allocations are refused. None: unknown.

        If arrays are on the host, these are the bytes that the machine, the control groups and RLIMIT_AS still allow.
        """
        return host_memory.free_bytes() if self.arrays_on_host else None

    def close(self) -> None:
        """Release the backend's resources."""

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
        """Names under which kernels are looked up: this class's and its base classes'."""
        return list(dict.fromkeys(c.__dict__["name"] for c in type(self).__mro__ if "name" in c.__dict__))
