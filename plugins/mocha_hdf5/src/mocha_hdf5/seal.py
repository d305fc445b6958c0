"""Seals: 512 bytes at the beginning of a file that show whether the rest is complete."""

from __future__ import annotations

from hashlib import sha256

from mocha_core.api import SnapshotError
from mocha_hdf5.contents import Contents, Image

#: The smallest user block HDF5 knows.
SIZE = 512
MAGIC = b"Mocha snapshot 1\nsha256 "


def of(rest: memoryview) -> bytes:
    """The seal of a file, given the bytes after it."""
    return (MAGIC + sha256(rest).hexdigest().encode() + b"\n").ljust(SIZE, b"\0")


def is_sealed(contents: Contents) -> bool:
    """Whether a file begins like a snapshot."""
    return contents.size >= len(MAGIC) and contents.read(0, len(MAGIC)) == MAGIC


def verified(contents: Contents) -> Image:
    """The verified bytes of a snapshot, in memory, so that no other process can change them.

    Raises:
        SnapshotError: the file is no snapshot, or does not match its seal.
        FileError: the file cannot be read.
    """
    if not is_sealed(contents):
        raise SnapshotError(f"'{contents.path}' is not a snapshot. Delete it.")
    data = contents.read(0, contents.size)
    if data[:SIZE] != of(data[SIZE:]):
        raise SnapshotError(
            f"'{contents.path}' is incomplete or damaged: its contents do not match their checksum. Delete it."
        )
    return Image(contents.path, data)
