"""Ctrl-C and SIGTERM: the first asks for an orderly end, the second ends at once."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import TYPE_CHECKING, Any, Self

from mocha_core.log import logger

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: What Python does where a program has not said anything else.
DEFAULTS: dict[int, Any] = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}


class Interrupted(KeyboardInterrupt, SystemExit):
    """A run was ended by Ctrl-C in good order. Uncaught, it ends the process with status 130 and no traceback."""

    def __init__(self) -> None:
        super().__init__(128 + signal.SIGINT)
        self.code = 128 + signal.SIGINT


class Interruptible:
    """While it is entered, the first SIGINT or SIGTERM sets `stop[0]`, and is raised as an exception at the end.

    An exception that leaves it goes before. `stop[0]` is 0 afterwards.

    Only in the main thread, and only where the program has Python's own handlers: those of its own, and signals that
    are ignored, stay as they are. After the first signal, and at the end, the old handlers are back.

    Args:
        stop: one element, looked at between iterations.

    Raises:
        Interrupted: SIGINT came.
        SystemExit: SIGTERM came; the code is 143.
    """

    def __init__(self, stop: NDArray[np.int32]) -> None:
        self._stop = stop
        self._received = 0

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number, default in DEFAULTS.items():
                if signal.getsignal(number) == default:
                    signal.signal(number, self._receive)
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        self._restore()
        self._stop[0] = 0
        if kind is None and self._received == signal.SIGINT:
            raise Interrupted
        if kind is None and self._received:
            raise SystemExit(128 + self._received)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self._restore()
        self._received = number
        self._stop[0] = 1
        logger.info("%s: finishing the iteration; again to abort at once", signal.Signals(number).name)

    def _restore(self) -> None:
        for number, default in DEFAULTS.items():
            if signal.getsignal(number) == self._receive:
                signal.signal(number, default)
