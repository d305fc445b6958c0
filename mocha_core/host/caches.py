"""Folders for what can be made again: compiled kernels, measured times."""

import os
from contextlib import suppress
from functools import cache
from pathlib import Path

from mocha_core.errors import FileError
from mocha_core.host.files import absolute


def cache_folder(name: str, variable: str) -> Path:
    """The folder that an environment variable names, or else `name` in the user's folder for caches.

    It may not exist. Where there is no home folder, it is one that cannot.
    """
    home = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    return _resolved(os.environ.get(variable) or str(home / name))


@cache  # once, because the working directory may change
def _resolved(folder: str) -> Path:
    try:
        return absolute(folder)
    except FileError:  # a container's user may have no home
        return Path(os.devnull, "cache")


def keep(path: Path, content: bytes) -> None:
    """Write a file, and its folder. If this fails, the next process makes its content again."""
    temporary = path.with_suffix(f".{os.getpid()}")
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(content)
        temporary.replace(path)
