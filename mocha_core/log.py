"""Mocha's messages: the logger "mocha", shown on standard output unless the program shows them itself."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from threading import Lock
from typing import Final

logger = logging.getLogger("mocha")


class Messages(logging.Handler):
    """Shows a message on the present `sys.stdout`, unless a handler of the program shows it.

    While it is attached, the logger passes messages from INFO on and does not propagate them: this handler passes them
    to the handlers of the parent loggers.

    Attributes:
        write: the function that shows a line; a progress bar replaces it, to write the line above itself.
    """

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("%(asctime)s:%(levelname)s:%(name)s:%(message)s", "%d-%b %H:%M:%S"))
        self.write: Callable[[str], None] = to_stdout
        self._fails = False
        """Whether the last message could not be shown."""
        self._users = 0
        self._chosen = False
        """Whether the program has set the level of the logger."""

    def __enter__(self) -> None:
        logger.disabled = False  # dictConfig disables every logger that it does not name
        with _changing:
            self._users += 1
            if self._users == 1 and logger.propagate and not any(map(_shows, logger.handlers)):
                self._chosen = logger.level != logging.NOTSET
                if not self._chosen:
                    logger.setLevel(logging.INFO)
                logger.propagate = False
                logger.addHandler(self)

    def __exit__(self, *exception: object) -> None:
        with _changing:
            self._users -= 1
            if self._users == 0 and self in logger.handlers:
                logger.removeHandler(self)
                logger.propagate = True
                if not self._chosen and logger.level == logging.INFO:
                    logger.setLevel(logging.NOTSET)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if not self._shown(record):
                self.write(self.format(record))
                self._fails = False
        except Exception:
            if not self._fails:  # once until it works again, because a run has many messages
                self.handleError(record)
            self._fails = True

    def _shown(self, record: logging.LogRecord) -> bool:
        """Pass a message to the handlers of the parent loggers, and return whether the program shows it."""
        parent = logger.parent
        above = list(_handlers_from(parent))
        if parent is not None and above and (self._chosen or parent.isEnabledFor(record.levelno)):
            parent.callHandlers(record)
        else:
            above = []
        others = [handler for handler in logger.handlers if handler is not self]
        return any(_shows(handler) and handler.level <= record.levelno for handler in above + others)


def to_stdout(line: str) -> None:
    """Print a line if there is an open standard output; services on Windows, for example, have none."""
    out = sys.stdout
    if out is not None and not getattr(out, "closed", False):
        out.write(f"{line}\n")
        if hasattr(out, "flush"):  # what programs put in its place may have no more than `write`
            out.flush()


_changing = Lock()
#: A context in which the messages of a run are shown. It keeps a level that the program has set for the logger "mocha",
#: and changes nothing if that logger has the program's own handlers, or does not propagate.
messages: Final = Messages()


def warn(message: str) -> None:
    """Give a `RuntimeWarning` that never raises: the work goes on under any filter of warnings."""
    try:
        warnings.warn(message, RuntimeWarning, stacklevel=3)
    except RuntimeWarning:
        logger.warning("%s", message)


def _handlers_from(log: logging.Logger | None) -> Iterator[logging.Handler]:
    while log is not None:
        yield from log.handlers
        log = log.parent if log.propagate else None


def _shows(handler: logging.Handler) -> bool:
    return not isinstance(handler, logging.NullHandler)


def _renew_lock() -> None:
    """In a forked child: another thread may have held the lock."""
    global _changing
    _changing = Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)
