"""Lists of HDF5 files: text files with one path per line."""

from __future__ import annotations

import codecs
import os
from os import PathLike
from pathlib import Path

from mocha_core.api import FileError, open_regular
from mocha_hdf5.contents import Disk
from mocha_hdf5.reader import is_hdf5

#: The maximum number of bytes of a list.
LONGEST = 2**24
WAY_OUT = "Write a text file with the path of one HDF5 file on each line."
#: The byte-order marks of other encodings. UTF-32 comes first, because its marks begin like those of UTF-16.
_MARKS = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}


def working_directory() -> Path:
    """Where relative paths begin; where it was removed, they begin nowhere else, either."""
    try:
        return Path.cwd()
    except FileNotFoundError:
        return Path()


def read_source_list(source: str | PathLike[str], beside: Path) -> list[Path]:
    """The files that a list names, relative to the folder `beside` if they exist there, else to the list.

    Args:
        source: the list; an HDF5 file stands for a list of itself. `~` is the home folder.
        beside: where its relative path begins, too: the working directory, or what it was.

    Raises:
        FileError: the list is missing, is no text or names no file, or a file of it does not exist.
    """
    beside = Path() if beside == working_directory() else beside  # errors show paths as they were given
    path = beside / os.path.expanduser(source)
    try:
        with open_regular(path) as file:
            content = file.read(LONGEST + 1)
        if _is_hdf5(path):
            return [path]
    except FileError as error:
        raise FileError(f"Source list {error} {WAY_OUT}") from error
    except OSError as error:
        raise FileError(f"Source list '{path}' cannot be read: {error}. {WAY_OUT}") from error
    if len(content) > LONGEST:
        raise FileError(f"Source list '{path}' has more than {LONGEST} bytes, which is no list of files. {WAY_OUT}")
    lines = _text(path, content).replace("\r\n", "\n").replace("\r", "\n").split("\n")
    files = [_find(path, beside, line.strip()) for line in lines if line.strip()]
    if not files:
        raise FileError(f"Source list '{path}' is empty. {WAY_OUT}")
    return files


def _is_hdf5(path: Path) -> bool:
    contents = Disk(path)
    try:
        return is_hdf5(contents)
    finally:
        contents.close()


def _text(path: Path, content: bytes) -> str:
    """The characters of a list, which is in UTF-8, with or without a byte-order mark."""
    encoding = next((name for mark, name in _MARKS.items() if content.startswith(mark)), None)
    if encoding is None and len(content) > 1 and 0 in content[:2] and any(content[:2]):
        encoding = "UTF-16"  # without a mark: every other byte of a name in ASCII is zero
    if encoding is not None:
        raise FileError(
            f"Source list '{path}' is in {encoding}, expected UTF-8. Save it as UTF-8: an editor offers it under 'Save "
            "as', and in PowerShell 'Out-File -Encoding utf8' does it."
        )
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise FileError(
            f"Source list '{path}' is not a text file in UTF-8: line {line} has the byte "
            f"0x{content[error.start]:02x}. {WAY_OUT} Save it as UTF-8."
        ) from error


def _find(source_list: Path, beside: Path, line: str) -> Path:
    names = [line]
    if len(line) > 2 and line[0] == line[-1] and line[0] in "\"'":
        names.append(line[1:-1])
    places = [place for name in map(os.path.expanduser, names) for place in (beside / name, source_list.parent / name)]
    for place in places:
        if os.path.isfile(place):  # unlike Path.is_file, false for a name that is too long
            return place
    shown = line if len(line) <= 100 else f"{line[:100]}..."
    way_out = "Correct the line, or make the file."
    if any(os.path.isdir(place) for place in places):
        way_out = "It is a folder: write the path of each of its files on a line of its own."
    elif any(character in line for character in "*?["):
        way_out = f"Patterns are not expanded: write the path of each file, as 'ls {shown} > train.txt' does."
    raise FileError(
        f"Source list '{source_list}' names '{shown}', which is neither in the working directory nor beside "
        f"the list ('{source_list.parent / shown}'). {way_out}"
    )
