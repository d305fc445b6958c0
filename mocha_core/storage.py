"""`Storage`: the buffers of values that outlive programs: parameters, states, gradients, slots, cells."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from mocha_core.array_api import Array
from mocha_core.errors import BackendError, StateError
from mocha_core.value import Spec, Value, aligned_elements, nbytes

if TYPE_CHECKING:
    from mocha_core.backend import Backend


class Storage:
    """Maps values to buffers, which live as long as somebody holds the value.

    `version` counts the changes to parameters and states; programs check it before they trust a packed copy.
    """

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.version = 0
        self._buffers: WeakKeyDictionary[Value, Array] = WeakKeyDictionary()

    def allocate(self, values: Iterable[Value]) -> None:
        """Place the values that have no buffer yet side by side in one zeroed arena per dtype."""
        by_dtype: dict[str, list[Value]] = {}
        for value in values:
            if value not in self._buffers:
                by_dtype.setdefault(value.dtype, []).append(value)
        for dtype, group in by_dtype.items():
            offsets, total = [], 0
            for value in group:
                offsets.append(total)
                total += aligned_elements(value.spec)
            arena = make_arena(self.backend, total, dtype, {value: value.spec for value in group})
            for value, offset in zip(group, offsets, strict=True):
                self._buffers[value] = carve(self.backend, arena, offset, value.shape, value.spec.size)

    def __contains__(self, value: Value) -> bool:
        return value in self._buffers

    def __getitem__(self, value: Value) -> Array:
        try:
            return self._buffers[value]
        except KeyError:
            raise StateError(f"'{value.name}' has no storage in this system.") from None


def carve(backend: Backend, arena: Array, offset: int, shape: tuple[int, ...], size: int) -> Array:
    """A piece of a one-dimensional arena as an array of `shape`, sharing its memory."""
    return backend.xp.reshape(arena[offset : offset + size], shape)


def make_arena(backend: Backend, size: int, dtype: str, values: Mapping[Value, Spec]) -> Array:
    """A zeroed one-dimensional array for values of these specs.

    Raises:
        BackendError: it does not fit; names the total and the largest values.
    """
    try:
        arena = backend.empty((size,), dtype)
        arena[...] = False if dtype == "bool" else 0
        return arena
    except (MemoryError, ValueError) as error:
        largest = sorted(values.items(), key=lambda item: -item[1].size)[:3]
        listed = ", ".join(f"'{value.name}' {spec} ({nbytes(spec):,} bytes)" for value, spec in largest)
        raise BackendError(
            f"{nbytes(Spec((size,), dtype)):,} bytes are more than backend '{backend.name}' can give. The largest "
            f"pieces are {listed}. Use smaller layers, or a smaller batch_size."
        ) from error
