"""Seals: 512 bytes at the beginning of a file that tell whether the rest is complete."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

from mocha_core.errors import FileError, SnapshotError

#: The smallest user block HDF5 knows.
SIZE = 512
MAGIC = b"Mocha snapshot 1\nsha256 "


def put(path: Path) -> None:
    """Fill the first bytes of a file, which are left free for this."""
    seal = _seal(path)
    with open(path, "rb+") as file:
        file.write(seal)


def is_sealed(path: Path) -> bool:
    """Whether a file begins like a snapshot; also false where it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def check(path: Path) -> None:
    """Whether a file is a snapshot, all of it and unchanged.

    Raises:
        SnapshotError: it is not, or it does not exist.
        FileError: it cannot be read.
    """
    try:
        with open(path, "rb") as file:
            found = file.read(SIZE)
        expected = _seal(path)
    except FileNotFoundError as error:
        raise SnapshotError(f"'{path}' does not exist.") from error
    except OSError as error:
        raise FileError(f"'{path}' cannot be read: {error}.") from error
    if not found.startswith(MAGIC):
        raise SnapshotError(f"'{path}' is not a snapshot. Delete it.")
    if found != expected:
        raise SnapshotError(f"'{path}' is incomplete or damaged: its contents do not match their checksum. Delete it.")


def _seal(path: Path) -> bytes:
    digest = sha256()
    with open(path, "rb") as file:
        file.seek(SIZE)
        while piece := file.read(2**20):
            digest.update(piece)
    return (MAGIC + digest.hexdigest().encode() + b"\n").ljust(SIZE, b"\0")
