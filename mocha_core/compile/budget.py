"""Checks before allocations: too large a net gives an error that names its largest values, not a killed process."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mocha_core.errors import BackendError
from mocha_core.graph.value import Spec, nbytes
from mocha_core.host import memory as host_memory

if TYPE_CHECKING:
    from mocha_core.compile.device import Device

#: Bytes; the address space of a process, which no allocation can exceed.
ADDRESSABLE = 2**47
#: Bytes; smaller allocations are not checked, because a check takes a third of a millisecond.
LITTLE = 2**20
SHOWN = 3


@contextmanager
def allocating(
    what: str, pieces: Iterable[tuple[str, Spec]], way_out: str, *, total: int = 0, backend: Device | None = None
) -> Iterator[None]:
    """Allocate memory inside this context, which raises at its start if too little memory is left.

    Args:
        what: the use of the memory, such as "Net 'LeNet', training batch 64".
        pieces: names, which begin with the layer, and specs of the arrays.
        way_out: what the user can do about too little memory.
        total: bytes, if they are not the sum of the pieces.
        backend: the backend that allocates; None for the host, where minibatches and initial parameters are made.

    Raises:
        BackendError: too little memory is left, or the allocation raised a MemoryError.
    """
    pieces = list(pieces)
    total = total or sum(nbytes(spec) for _, spec in pieces)
    free = None
    if total > LITTLE:
        free = host_memory.free_bytes() if backend is None else backend.free_bytes()
    error: MemoryError | None = None
    if total <= (ADDRESSABLE if free is None else free):
        try:
            yield
            return
        except MemoryError as refused:
            error = refused
    giver = "this machine" if backend is None else f"backend '{backend.name}'"
    left = "" if free is None else f", which has {in_words(free)} left"
    largest = sorted(pieces, key=lambda piece: -nbytes(piece[1]))[:SHOWN]
    listed = ", ".join(f"'{name}' {spec} of {in_words(nbytes(spec))}" for name, spec in largest)
    raise BackendError(
        f"{what}: {in_words(total)} are more than {giver} can give{left}. The largest of {len(pieces)} pieces: "
        f"{listed}. {way_out}"
    ) from error


def in_words(size: int) -> str:
    """Bytes, exactly and readably: `1,572,864 bytes (1.5 MiB)`."""
    exponent = min(max(size.bit_length() - 1, 0) // 10, 8)
    unit = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi")[exponent]
    return f"{size:,} bytes" + (f" ({size / 1024**exponent:,.1f} {unit}B)" if exponent else "")
