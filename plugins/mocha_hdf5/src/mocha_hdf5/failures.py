"""Converts exceptions of the HDF5 library to errors that name the file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mocha_core.api import FileError, MochaError


@contextmanager
def failures(what: str) -> Iterator[None]:
    """Turn any error of the library into a `FileError` that begins with `what`."""
    try:
        yield
    except MochaError:
        raise
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError, MemoryError) as error:
        raise FileError(
            f"{what}: {error}. The file is damaged, or of a kind that the HDF5 library here does not read. Write it "
            "again."
        ) from error
