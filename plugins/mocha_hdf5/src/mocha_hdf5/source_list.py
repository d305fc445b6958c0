"""Lists of HDF5 files: text files with one path per line."""

from __future__ import annotations

import os
from os import PathLike
from pathlib import Path

from mocha_core.errors import FileError
from mocha_core.host.files import open_regular

#: Bytes of a list.
LONGEST = 2**24
WAY_OUT = "Write a text file with the path of one HDF5 file on each line."


def read_source_list(source: str | PathLike[str]) -> list[Path]:
    """The files that a list names, relative to the working directory if they exist there, else to the list.

    Raises:
        FileError: the list is missing, is no text or names no file, or a file of it does not exist.
    """
    path = Path(source)
    try:
        with open_regular(path) as file:
            content = file.read(LONGEST + 1)
        lines = content.decode("utf-8-sig").splitlines()
    except FileError as error:
        raise FileError(f"Source list {error} {WAY_OUT}") from error
    except UnicodeDecodeError as error:
        raise FileError(f"Source list '{path}' is not a text file. {WAY_OUT}") from error
    except OSError as error:
        raise FileError(f"Source list '{path}' cannot be read: {error}. {WAY_OUT}") from error
    if len(content) > LONGEST:
        raise FileError(f"Source list '{path}' has more than {LONGEST} bytes, which is no list of files. {WAY_OUT}")
    files = [_find(path, line.strip()) for line in lines if line.strip()]
    if not files:
        raise FileError(f"Source list '{path}' is empty. {WAY_OUT}")
    return files


def _find(source_list: Path, line: str) -> Path:
    places = Path(line), source_list.parent / line
    for place in places:
        if os.path.isfile(place):  # unlike Path.is_file, false for a name that is too long
            return place
    shown = line if len(line) <= 100 else f"{line[:100]}..."
    raise FileError(
        f"Source list '{source_list}' names '{shown}', which is neither in the working directory nor beside "
        f"the list ('{source_list.parent / shown}'). Correct the line, or make the file."
    )
