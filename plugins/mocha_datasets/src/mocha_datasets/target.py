"""Writes a set of files so that a reader finds each of them complete, or absent."""

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from mocha_core.api import FileError, MochaError


def refuse_overwrite(folder: Path, names: Sequence[str], force: bool) -> None:
    """Raise `FileError` if one of the files `names` exists in `folder`, unless `force`."""
    existing = [name for name in names if (folder / name).exists()]
    if existing and not force:
        raise FileError(
            f"{folder}: {', '.join(existing)} already there. "
            "Name another folder, or replace them with --force (force=True)"
        )


@contextmanager
def publishing(folder: Path, names: Sequence[str]) -> Iterator[Path]:
    """A scratch folder for the files `names`. If the block succeeds, they move to `folder`, in that order.

    The scratch folder is inside `folder`, which is created if it does not exist, so that each move is atomic.
    Raises `FileError` if the files cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=".mocha-data-", dir=folder))
        try:
            yield scratch
            for name in names:
                os.replace(scratch / name, folder / name)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    except MochaError:
        raise
    except OSError as error:
        raise FileError(f"{folder}: cannot be written to: {error}") from error
