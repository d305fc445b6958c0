"""Backends without kernels, on which every op runs its own reference, and the ones that are installed."""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from mocha_core import array_api
from mocha_core.array_api import Array, Namespace
from mocha_core.backend import Backend
from mocha_core.kernel import Buffers, Reference, Runnable, store
from mocha_core.plan import Call, Step
from mocha_core.plugins import registries
from mocha_core.selection import Chosen, Selector
from mocha_core.system import open_backend, unavailable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray


class ReferenceBackend(Backend):
    """NumPy and no kernels. Says so when a reference's result is not what `infer` announced."""

    name = "reference"
    xp: Namespace = np

    def empty(self, shape: tuple[int, ...], dtype: str) -> Array:
        return self.xp.empty(shape, dtype=getattr(self.xp, dtype))

    def to_numpy(self, array: Array) -> NDArray[Any]:
        return np.array(array)

    def copy_from_numpy(self, array: Array, source: NDArray[Any]) -> None:
        array[...] = np.asarray(source, dtype=array.dtype)

    def choose(self, steps: list[Step], selector: Selector) -> dict[Call, Chosen]:
        chosen = super().choose(steps, selector)
        return {
            call: Chosen(CheckedReference(self, call), c.plugin) if c.plugin == "reference" else c
            for call, c in chosen.items()
        }


class StrictBackend(ReferenceBackend):
    """The names of `mocha_core.array_api` as `array_api_strict` has them, and nothing else."""

    name = "strict"

    def __init__(self) -> None:
        self.xp = strict_namespace()

    def to_numpy(self, array: Array) -> NDArray[Any]:
        return np.array(array._array)

    def copy_from_numpy(self, array: Array, source: NDArray[Any]) -> None:
        array._array[...] = source


class CheckedReference(Reference):
    """A reference whose results have to have the shapes that `infer` announced, not just fit into them."""

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        call, xp = self.call, self.xp

        def run() -> None:
            results = call.op.forward(xp, *ins)
            results = results if isinstance(results, tuple) else (results,)
            check_results(call, results)
            store(results, outs, add)

        return run


def check_results(call: Call, results: Sequence[Array]) -> None:
    """Raise `AssertionError` unless a forward's results have the inferred shapes and dtypes."""
    op, n = call.op, len(call.outs)
    if len(results) != n:
        raise AssertionError(
            f"op '{op.name}': expected {n} results of forward, {n - len(op.updates)} that infer announces and "
            f"{len(op.updates)} in updates; received {len(results)}."
        )
    for i, (value, result) in enumerate(zip(call.outs, results, strict=True)):
        dtype = str(result.dtype).removeprefix("array_api_strict.")
        if (tuple(result.shape), dtype) != (value.shape, value.dtype):
            raise AssertionError(
                f"op '{op.name}', result {i} of forward: expected {value.spec} as announced by infer, "
                f"received {dtype}{list(result.shape)}."
            )


@cache
def strict_namespace() -> Namespace:
    """The listed part of `array_api_strict`, which refuses whatever the array API standard does not promise."""
    import array_api_strict

    names = (*array_api.DTYPES, *array_api.FUNCTIONS)
    return SimpleNamespace(**{name: getattr(array_api_strict, name) for name in names})


def open_any(backend: str | Backend | None, options: Mapping[str, Any] | None = None) -> Backend:
    """A backend by name, those of the kit among them."""
    own = {kind.name: kind for kind in (ReferenceBackend, StrictBackend)}
    if isinstance(backend, Backend):
        return backend
    return own[backend]() if backend in own else open_backend(backend, options or {})


def installed() -> list[str]:
    """The backends that can be used here, those of the kit first."""
    from importlib.util import find_spec

    kit = ["reference"] + (["strict"] if find_spec("array_api_strict") else [])
    return kit + [name for name in registries().backends.names() if not unavailable(name)]
