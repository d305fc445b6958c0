"""`FolderLock`: one owner at a time for a folder."""

from __future__ import annotations

import errno
import os
import platform
import sys
from contextlib import suppress
from pathlib import Path
from weakref import WeakSet

from mocha_core.api import FileError, logger, write_all

#: The file in the folder that is locked. It stays, and names the last owner.
NAME = ".lock"

if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        os.lseek(descriptor, 2**20, os.SEEK_SET)  # a locked byte cannot be read, so lock one after the text
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        os.lseek(descriptor, 0, os.SEEK_SET)
else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


class FolderLock:
    """Owns a folder until `release`, or until the process ends in any way.

    The system ties the lock to the open file, so that no stale lock can stay. Children that the process forks do
    not own it: they neither keep the lock when the process dies, nor end it when they exit.

    Args:
        folder: it must exist.

    Raises:
        FileError: another process owns the folder (the message names it), or the folder cannot be written to.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._descriptor: int | None = None
        try:
            self._identity = os.stat(folder)
            descriptor = os.open(folder / NAME, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                self._acquire(descriptor)
                os.ftruncate(descriptor, 0)
                write_all(descriptor, f"process {os.getpid()} on {platform.node()}\n".encode())
            except BaseException:
                os.close(descriptor)
                raise
        except OSError as error:
            if isinstance(error, FileError):
                raise
            raise FileError(
                f"Folder '{folder}' cannot be written to: {error.strerror or error}. Make it writable, free some "
                "space, or give another one."
            ) from error
        self._descriptor = descriptor
        _held.add(self)

    def check(self) -> None:
        """Whether this process is the owner, and the folder still has its name.

        Raises:
            FileError: it is not the owner, because it was forked from the owner or has released the lock; or the folder
                was moved, removed or replaced.
        """
        if self._descriptor is None:
            raise FileError(
                f"Folder '{self.folder}' does not belong to process {os.getpid()}, which was forked from the one that "
                "trains with it. Train in one process, or give each a folder."
            )
        try:
            same = os.path.samestat(os.stat(self.folder), self._identity)
        except OSError:
            same = False
        if not same:
            raise FileError(
                f"Folder '{self.folder}' was moved, removed or replaced while a run uses it. Move it back, and the run "
                "goes on saving there."
            )

    def release(self) -> None:
        """Release the folder."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        _held.discard(self)

    def _acquire(self, descriptor: int) -> None:
        try:
            _lock(descriptor)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN, errno.EDEADLK):
                raise FileError(self._in_use(descriptor)) from error
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS):
                raise
            logger.warning(
                "Folder '%s' is on a file system without locks: make sure that no other process uses it.", self.folder
            )

    def _in_use(self, descriptor: int) -> str:
        owner = os.read(descriptor, 200).decode(errors="replace").strip() or "another process"
        if owner == f"process {os.getpid()} on {platform.node()}":
            return (
                f"Folder '{self.folder}' is in use by another Snapshot of this process ({os.getpid()}). Let one solve "
                "end before the next begins, or give each a folder."
            )
        return (
            f"Folder '{self.folder}' is in use by {owner}. Wait until it ends, stop it, or give another folder: two "
            "runs would overwrite each other's snapshots."
        )


#: The locks of this process.
_held: WeakSet[FolderLock] = WeakSet()


def _forget() -> None:
    """In a forked child: closing its copy of the descriptor leaves the parent's lock alone."""
    for lock in list(_held):
        if lock._descriptor is not None:
            with suppress(OSError):
                os.close(lock._descriptor)
            lock._descriptor = None
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
