"""Backends without kernels, on which every op runs its own reference, and the list of installed backends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from importlib.util import find_spec
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from mocha_core.compile.backend import Backend
from mocha_core.compile.kernel import Buffers, Kernel, Reference, Runnable, store
from mocha_core.compile.selection import Selector
from mocha_core.errors import BackendError
from mocha_core.graph import array_api
from mocha_core.graph.array_api import Array, Namespace
from mocha_core.graph.plan import Call, Step
from mocha_core.graph.value import Value
from mocha_core.net.system import System, open_backend, unavailable
from mocha_core.plugin.manager import registries

if TYPE_CHECKING:
    from numpy.typing import NDArray


class ReferenceBackend(Backend):
    """NumPy without kernels. It raises if the results of a reference differ from the specs of `infer`."""

    name = "reference"
    xp: Namespace = np

    def empty(self, shape: tuple[int, ...], dtype: str) -> Array:
        return self.xp.empty(shape, dtype=getattr(self.xp, dtype))

    def to_numpy(self, array: Array) -> NDArray[Any]:
        return np.array(array)

    def copy_from_numpy(self, array: Array, source: NDArray[Any]) -> None:
        array[...] = source

    def choose(self, steps: list[Step], selector: Selector) -> dict[Call, Kernel]:
        return {
            call: CheckedReference(self, call) if type(kernel) is Reference else kernel
            for call, kernel in super().choose(steps, selector).items()
        }


class StrictBackend(ReferenceBackend):
    """A backend whose `xp` has only the names in `mocha_core.graph.array_api`, taken from `array_api_strict`."""

    name = "strict"

    def __init__(self) -> None:
        self.xp = strict_namespace()

    def to_numpy(self, array: Array) -> NDArray[Any]:
        return np.array(array._array)

    def copy_from_numpy(self, array: Array, source: NDArray[Any]) -> None:
        array._array[...] = source


class CheckedReference(Reference):
    """A reference that raises if results have other shapes or dtypes than inferred, or if it changes its inputs."""

    def __init__(self, backend: Backend, call: Call) -> None:
        super().__init__(backend, call)
        self.backend = backend

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        call, xp = self.call, self.xp

        def run() -> None:
            before = self.copies(ins)
            results = call.op.forward(xp, *ins)
            self.check_unchanged("forward", ins, before)
            results = results if isinstance(results, tuple) else (results,)
            check_results(f"forward of op '{call.op.name}'", results, call.outs)
            store(results, outs, add)

        return run

    def backward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        call, xp, n = self.call, self.xp, len(self.call.outs)
        dy, x, y = ins[:n], ins[n : n + len(call.ins)], ins[n + len(call.ins) :]
        wanted = [out is not None for out in outs]

        def run() -> None:
            before = self.copies(ins)
            results = call.op.backward(xp, dy, x, y, wanted)
            self.check_unchanged("backward", ins, before)
            check_results(f"backward of op '{call.op.name}'", results, call.ins)
            store(results, outs, add)

        return run

    def copies(self, arrays: Buffers) -> list[NDArray[Any] | None]:
        return [None if array is None else np.array(self.backend.to_numpy(array)) for array in arrays]

    def check_unchanged(self, half: str, arrays: Buffers, before: Sequence[NDArray[Any] | None]) -> None:
        """Raise `AssertionError` if any byte of an operand has changed."""
        for i, (now, then) in enumerate(zip(self.copies(arrays), before, strict=True)):
            if now is not None and then is not None and now.tobytes() != then.tobytes():
                raise AssertionError(
                    f"{half} of op '{self.call.op.name}' wrote into its operand {i}. References are "
                    "pure: return new arrays."
                )


def check_results(what: str, results: Sequence[Array | None], values: Sequence[Value]) -> None:
    """Raise `AssertionError` unless there is a result for each value, None or of its shape and dtype."""
    if len(results) != len(values):
        raise AssertionError(f"{what}: expected {len(values)} results, received {len(results)}.")
    for i, (result, value) in enumerate(zip(results, values, strict=True)):
        if result is not None and (tuple(result.shape), _dtype(result)) != value.spec:
            received = f"{_dtype(result)}{list(result.shape)}"
            raise AssertionError(f"{what}, result {i}: expected {value.spec}, received {received}.")


def _dtype(array: Array) -> str:
    return str(array.dtype).removeprefix("array_api_strict.")


@cache
def strict_namespace() -> Namespace:
    """The listed part of `array_api_strict`, which refuses all uses that the standard does not guarantee."""
    import array_api_strict

    names = (*array_api.DTYPES, *array_api.FUNCTIONS)
    return SimpleNamespace(**{name: getattr(array_api_strict, name) for name in names})


def check_namespace(xp: Namespace, owner: str) -> None:
    """Raise `BackendError` unless `xp` offers every dtype and function listed here."""
    missing = [name for name in (*array_api.DTYPES, *array_api.FUNCTIONS) if not hasattr(xp, name)]
    if missing:
        raise BackendError(
            f"The array namespace of {owner} lacks {', '.join(missing)}. A backend's `xp` must offer every "
            "name in mocha_core.graph.array_api; write a thin namespace that adds them."
        )


KIT: dict[str, type[Backend]] = {"reference": ReferenceBackend, "strict": StrictBackend}
#: A backend, its name, or a function that makes one; None: the best one available.
AnyBackend: TypeAlias = str | Backend | Callable[[], Backend] | None


def open_any(backend: AnyBackend) -> Backend:
    """Open a backend by name, including the kit's own, or by calling a function."""
    if isinstance(backend, Backend):
        return backend
    if callable(backend):
        return backend()
    return KIT[backend]() if backend in KIT else open_backend(backend, {})


def open_system(backend: AnyBackend, **options: Any) -> System:
    """A system on `open_any(backend)`; closing it closes the backend, unless a `Backend` was given."""
    system = System(open_any(backend), **options)
    system.closes_backend = not isinstance(backend, Backend)
    return system


def installed() -> list[str]:
    """The names of the backends that can be used here, those of the kit first."""
    kit = [name for name in KIT if name != "strict" or find_spec("array_api_strict")]
    return kit + [name for name in registries().backends.names() if not unavailable(name)]
