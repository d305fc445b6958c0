"""The bytes of an HDF5 file: an open file, or an image of one in memory."""

from __future__ import annotations

import os
import threading
import time
import weakref
from io import SEEK_CUR, SEEK_END, SEEK_SET, BufferedReader
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from mocha_core.api import FileError, absolute, open_regular
from mocha_hdf5 import trees


class Contents(Protocol):
    """Bytes that can be read at any offset.

    Attributes:
        path: the path of the file, for errors.
        size: the number of bytes.
        base: the offset at which HDF5's addresses begin to count.
    """

    path: Path
    size: int
    base: int

    def read(self, offset: int, size: int) -> memoryview:
        """Exactly this many bytes from the offset. Raises `FileError` if there are fewer."""

    def read_into(self, buffer: memoryview, offset: int) -> None:
        """Fill a buffer with the bytes from the offset. Raises `FileError` if there are fewer."""

    def check_open(self) -> None:
        """Raise `FileError` if the contents were closed."""

    def close(self) -> None:
        """Close the contents. Later reads raise `FileError`."""


class Disk:
    """A regular file. Threads and forked processes may read at once, because there is no common position.

    The path becomes absolute, so that the program may change its working directory.

    Raises:
        FileError: the file is missing, is no regular file, or cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._place = absolute(path)
        self._lock = threading.Lock()
        self._suspended = False
        self.base = 0
        self._open()
        self._identity = _identity(self._file)
        self.size = self._identity.size

    def _open(self) -> None:
        try:
            self._file = open_regular(self._place)
        except FileError as error:
            raise FileError(str(error).replace(f"'{self._place}'", f"'{self.path}'")) from error
        # Programs may drop a net without closing it, so close its files without Python's warning.
        self._close = weakref.finalize(self, self._file.close)

    def suspend(self) -> None:
        """Give the descriptor back to the system until the next read, which opens the same file again.

        That read raises `FileError` if there is another file then, or the file was changed.
        """
        if not self._file.closed:
            self._close()
            self._suspended = True

    def _resume(self) -> None:
        self._open()
        found = _identity(self._file)
        if found != self._identity:
            self.suspend()
            raise FileError(
                f"'{self.path}' was changed or replaced while it was in use: expected {self._identity}, found "
                f"{found}. Leave files alone while they are read, and start again."
            )
        self._suspended = False

    def read(self, offset: int, size: int) -> memoryview:
        _check_inside(self, offset, size)
        buffer = np.empty(size, np.uint8).data
        self.read_into(buffer, offset)
        return buffer

    def read_into(self, buffer: memoryview, offset: int) -> None:
        """Fill a buffer with the bytes from the offset."""
        self.check_open()
        _check_inside(self, offset, len(buffer))
        done = self._fill(buffer, offset)
        while done < len(buffer):
            if (n := self._fill(buffer[done:], offset + done)) == 0:
                raise FileError(f"'{self.path}': the file became shorter while it was in use. Get it again.")
            done += n

    def _fill(self, buffer: memoryview, offset: int) -> int:
        try:
            if hasattr(os, "preadv"):
                return os.preadv(self._file.fileno(), [buffer], offset)
            with self._lock:
                self._file.seek(offset)
                return self._file.readinto(buffer)
        except (OSError, ValueError) as error:
            raise FileError(f"'{self.path}' cannot be read: {error}. Check the disk.") from error

    def check_open(self) -> None:
        if self._file.closed:
            if not self._suspended:
                raise _closed(self.path)
            self._resume()

    def close(self) -> None:
        self._suspended = False
        self._close()


class _Identity(NamedTuple):
    """Identifies an unchanged file: equal if a name still leads to the same file, and nothing has written to it."""

    device: int
    inode: int
    size: int
    modified: int

    def __str__(self) -> str:
        seconds, rest = divmod(self.modified, 10**9)
        when = f"{time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(seconds))}.{rest:09}"
        return f"{self.size:,} bytes of {when} (inode {self.inode})"


def _identity(file: BufferedReader) -> _Identity:
    found = os.fstat(file.fileno())
    return _Identity(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


class Image:
    """Bytes in memory. Reads return views of them."""

    def __init__(self, path: Path, image: memoryview) -> None:
        self.path = path
        self.size = len(image)
        self.base = 0
        self._image = image.toreadonly()
        self._is_open = True

    def read(self, offset: int, size: int) -> memoryview:
        _check_inside(self, offset, size)
        return self._image[offset : offset + size]

    def read_into(self, buffer: memoryview, offset: int) -> None:
        buffer[:] = self.read(offset, len(buffer))

    def check_open(self) -> None:
        if not self._is_open:
            raise _closed(self.path)

    def close(self) -> None:
        self._is_open = False


def _check_inside(contents: Contents, offset: int, size: int) -> None:
    if not 0 <= offset <= offset + size <= contents.size:
        raise FileError(
            f"'{contents.path}' is damaged: expected {size} bytes at {offset}, the file has {contents.size}. Get it "
            "again."
        )


def _closed(path: Path) -> FileError:
    return FileError(f"'{path}' was closed, and cannot be read any more. Read while it is open.")


class Stream:
    """A file object over contents, through which the HDF5 library reads, so that it never opens a file itself.

    Attributes:
        rank: the number of axes of the dataset whose chunks are being looked up.
        bounded: whether listing the chunk indexes that were read so far takes a bounded time.
    """

    rank = 0

    def __init__(self, contents: Contents) -> None:
        self._contents = contents
        self._position = 0
        self._guard = trees.Guard(contents)

    @property
    def bounded(self) -> bool:
        return self._guard.bounded

    def seek(self, offset: int, whence: int = SEEK_SET) -> int:
        """Move, and return the position."""
        self._position = offset + {SEEK_SET: 0, SEEK_CUR: self._position, SEEK_END: self._contents.size}[whence]
        return self._position

    def tell(self) -> int:
        """The position."""
        return self._position

    def readinto(self, buffer: memoryview) -> int:
        """Fill a buffer."""
        self._contents.read_into(buffer, self._position)
        self._guard.check(self._position, buffer, self.rank)
        self._position += len(buffer)
        return len(buffer)

    def read(self, size: int = -1) -> bytes:
        """The next bytes, all by default."""
        size = self._contents.size - self._position if size < 0 else size
        found = bytes(self._contents.read(self._position, size))
        self._position += size
        return found

    def write(self, data: bytes) -> int:
        """Refuse."""
        raise FileError(f"'{self._contents.path}' was opened for reading, and cannot be written.")

    def truncate(self, size: int) -> None:
        """Does nothing: the library calls it only for files that were written."""

    def flush(self) -> None:
        """Does nothing."""
