"""Writing of files that are complete or not there at all."""

import errno
import os
import stat
from contextlib import suppress
from io import BufferedReader
from os import PathLike
from pathlib import Path

from mocha_core.checks import shown
from mocha_core.errors import FileError

#: The ending of files while they are being written.
TEMPORARY = ".mocha-tmp"
#: The most characters of a path that an operating system takes.
LONGEST = 4096

_WAYS_OUT = {
    errno.ENOSPC: "Free some space",
    errno.EDQUOT: "Free some space",
    errno.EIO: "Check the disk",
    errno.ENOENT: "Make the folder first",
    errno.ENAMETOOLONG: "Choose a shorter name",
    errno.EROFS: "Give a folder that can be written to",
    errno.EACCES: "Give a folder that can be written to",
}


def expanded(path: str | PathLike[str]) -> Path:
    """A path in which `~` is the home folder.

    Raises:
        FileError: there is none, or the path cannot be one.
    """
    if len(os.fspath(path)) > LONGEST or "\0" in os.fspath(path):
        raise FileError(
            f"Expected a path of at most {LONGEST:,} characters, without null characters; received {shown(path)}."
        )
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise FileError(f"'{os.fspath(path)}' cannot be expanded: {error} Give an absolute path.") from error


def absolute(path: str | PathLike[str]) -> Path:
    """A path that does not depend on the working directory; `~` is the home folder.

    Raises:
        FileError: there is no home folder, or no working directory.
    """
    try:
        return expanded(path).absolute()
    except FileNotFoundError as error:
        raise FileError(f"'{os.fspath(path)}': the working directory is gone. Give an absolute path.") from error


def write_file(path: Path, *pieces: bytes | bytearray | memoryview) -> None:
    """Write the pieces, one after the other, to `path`, completely or not at all.

    A crash at any moment leaves the old file or the new one: contents, name and folder reach the disk in this order.

    Raises:
        FileError: the file cannot be written; the old one is unchanged, and no other file is left. Only if the folder
            cannot be flushed to the disk, which the message says, the new file has replaced the old one.
    """
    views = [memoryview(piece) for piece in pieces]
    temporary = path.with_name(f".{path.name}.{os.urandom(6).hex()}{TEMPORARY}")
    replaced = False
    try:
        folder = _open_folder(path.parent)
        try:
            try:
                _write_new(temporary, views)
                os.replace(temporary, path)
            except BaseException:
                with suppress(OSError):
                    os.unlink(temporary)
                raise
            replaced = True
            if folder is not None:
                os.fsync(folder)
        finally:
            if folder is not None:
                os.close(folder)
    except OSError as error:
        reason = error.strerror or str(error)
        if replaced:
            raise FileError(
                f"'{path}' is written, but its folder cannot be flushed to the disk: {reason}. After a power cut the "
                "old file may be back. Check the disk."
            ) from error
        size = sum(view.nbytes for view in views)
        way_out = _WAYS_OUT.get(error.errno or 0, "Check the folder and the free space")
        raise FileError(f"'{path}' ({size:,} bytes) cannot be written: {reason}. {way_out}.") from error


def _write_new(path: Path, views: list[memoryview]) -> None:
    """Write a new file, and flush it to the disk."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    try:
        for view in views:
            if view.nbytes:
                write_all(descriptor, view.cast("B"))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_all(descriptor: int, data: bytes | memoryview) -> None:
    """Write every byte; the system may take fewer at a time.

    Raises:
        OSError: the system refuses.
    """
    view = memoryview(data)
    while view:
        if not (written := os.write(descriptor, view)):
            raise OSError(errno.EIO, "nothing more is taken")
        view = view[written:]


def open_regular(path: Path) -> BufferedReader:
    """A file opened for reading. Pipes and devices are not opened, because reading them may never end.

    Raises:
        FileError: it is missing, is no regular file, or cannot be opened.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            kind = "a folder" if path.is_dir() else "no regular file"
            raise FileError(f"'{path}' cannot be read: it is {kind}. Give a file.")
        flags = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
        return open(path, "rb", opener=lambda name, _: os.open(name, flags))
    except FileNotFoundError as error:
        raise FileError(f"'{path}' does not exist.") from error
    except FileError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        reason = getattr(error, "strerror", None) or error
        raise FileError(f"'{path}' cannot be opened: {reason}. Give a file that can be read.") from error


def remove_leftovers(folder: Path, names: str) -> None:
    """Delete the incomplete files that `write_file` leaves if its process is killed.

    Args:
        folder: the folder of the files.
        names: a pattern such as "snapshot-*.hdf5" for files that only the caller writes here; other files, which
            another process may be writing, stay.

    Raises:
        FileError: a file cannot be deleted.
    """
    try:
        for path in folder.glob(f".{names}.*{TEMPORARY}"):
            with suppress(FileNotFoundError):
                os.unlink(path)
    except OSError as error:
        raise FileError(f"A leftover in '{folder}' cannot be deleted: {error}. Give a folder to write to.") from error


def _open_folder(folder: Path) -> int | None:
    """A descriptor to flush a folder to the disk; None on Windows, where renaming is journaled."""
    return None if os.name == "nt" else os.open(folder, os.O_RDONLY)
