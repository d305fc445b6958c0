"""`Storage`: the buffers of values that outlive programs: parameters, states, gradients, slots, cells."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from mocha_core.compile.budget import allocating
from mocha_core.compile.gate import Gate
from mocha_core.errors import StateError
from mocha_core.graph.array_api import Array
from mocha_core.graph.value import Role, Spec, Value, aligned_elements, nbytes

if TYPE_CHECKING:
    from mocha_core.compile.device import Device

SMALLER = "Use smaller layers, or a smaller batch_size."
#: The word for values of a role in errors, if it is not the role with an "s".
ROLES = {Role.DATA: "resident data sets"}


class Storage:
    """Maps values to buffers, which live as long as the value object.

    `version` grows with every change to parameters and states; programs check it before they use a packed copy. Several
    threads may read and change them; each enters `gate` to do so.
    """

    def __init__(self, backend: Device) -> None:
        self.backend = backend
        self.gate = Gate(backend.programs_at_once)
        self._buffers: WeakKeyDictionary[Value, Array] = WeakKeyDictionary()

    @property
    def version(self) -> int:
        return self.gate.version

    @version.setter
    def version(self, version: int) -> None:
        self.gate.version = version

    def allocate(self, values: Iterable[Value], owner: str = "", way_out: str = SMALLER) -> None:
        """Allocate the values that have no buffer yet, side by side in one zeroed arena per dtype.

        Raises:
            BackendError: they do not fit into memory; the error names the owner, the largest values and the total.
                Nothing was allocated.
        """
        by_dtype: dict[str, list[Value]] = {}
        for value in values:
            if value not in self._buffers:
                by_dtype.setdefault(value.dtype, []).append(value)
        if not by_dtype:
            return
        offsets, sizes = {}, dict.fromkeys(by_dtype, 0)
        for dtype, group in by_dtype.items():
            for value in group:
                offsets[value] = sizes[dtype]
                sizes[dtype] += aligned_elements(value.spec)
        roles = ", ".join(dict.fromkeys(ROLES.get(value.role, f"{value.role}s") for value in offsets))
        what = f"{owner}, {roles}" if owner else roles.capitalize()
        pieces = [(value.name, value.spec) for value in offsets]
        arenas = make_arenas(self.backend, sizes, what, pieces, way_out)
        for value, offset in offsets.items():
            self._buffers[value] = array_in_arena(
                self.backend, arenas[value.dtype], offset, value.shape, value.spec.size
            )

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Change parameters or states inside this context.

        The version grows before and after the change, even if an exception ends it: a program that runs outside of the
        gate may pack a half changed parameter meanwhile, and has to pack it again.
        """
        self.gate.grow()
        try:
            yield
        finally:
            self.gate.grow()

    def __contains__(self, value: Value) -> bool:
        return value in self._buffers

    def __getitem__(self, value: Value) -> Array:
        try:
            return self._buffers[value]
        except KeyError:
            raise StateError(f"'{value.name}' has no storage in this system.") from None


def array_in_arena(backend: Device, arena: Array, offset: int, shape: tuple[int, ...], size: int) -> Array:
    """A piece of a one-dimensional arena as an array of `shape` that shares the arena's memory."""
    return backend.xp.reshape(arena[offset : offset + size], shape)


def make_arenas(
    backend: Device, sizes: Mapping[str, int], what: str, pieces: Iterable[tuple[str, Spec]], way_out: str
) -> dict[str, Array]:
    """Zeroed one-dimensional arrays, by dtype, of the given numbers of elements.

    Raises:
        BackendError: they do not fit into memory; the error names their use, the largest pieces and the total. No array
            is kept.
    """
    total = sum(nbytes(Spec((size,), dtype)) for dtype, size in sizes.items())
    with allocating(what, pieces, way_out, total=total, backend=backend):
        arenas = {dtype: backend.empty((size,), dtype) for dtype, size in sizes.items()}
    with backend.running():
        for dtype, arena in arenas.items():
            arena[...] = False if dtype == "bool" else 0
    return arenas
