"""Files that are there whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mocha_core.errors import FileError, MochaError

#: The ending of files that were being written.
TEMPORARY = ".mocha-tmp"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside `path` to write to; when the block succeeds, that file takes the place of `path`.

    A crash at any moment leaves the old file or the new one: contents and folder reach the disk in this order.

    Raises:
        FileError: the file cannot be written; the old one is still there.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}{TEMPORARY}")
    try:
        try:
            yield temporary
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        _sync_folder(path.parent)
    except MochaError:
        raise
    except OSError as error:
        raise FileError(f"'{path}' cannot be written: {error}. Check the folder and the free space.") from error


def remove_leftovers(folder: Path) -> None:
    """Delete what `replacing` left in a folder when its process was killed."""
    for path in folder.glob(f".*{TEMPORARY}"):
        path.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # folders cannot be opened there; the rename itself is journaled
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
