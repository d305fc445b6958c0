"""A thread that notices signals at once, even while the main thread is in C code."""

from __future__ import annotations

import _thread
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from types import FrameType

#: Seconds between two checks, after the first signal.
PERIOD = 0.1
#: Signals within this many seconds after the first count as one with it: `timeout`, batch systems and closed terminals
#: signal the process, then its group.
BURST = 0.05
#: Seconds after the second signal, at which the process is ended in any case.
DEADLINE = 0.8


class SignalWatch:
    """Watches the signals that have a handler, from its construction in the main thread until `close`.

    Args:
        handler: the handler.
        first: called when the first of them comes.
        late: whether the main thread, which may be waiting, has to call the handler once more; `called()` tells it.
    """

    def __init__(
        self, handler: Callable[[int, FrameType | None], None], first: Callable[[], None], late: Callable[[], bool]
    ) -> None:
        self._handler, self._first, self._late = handler, first, late
        self._sent = 0
        """Signals of this watch that have not come yet."""
        self._calling = False
        self._open = True
        self._receiver, self._sender = socket.socketpair()
        self._sender.setblocking(False)
        self._former = -1
        self._main = threading.get_ident()
        self._thread = threading.Thread(target=self._watch, name="mocha signals", daemon=True)
        self._thread.start()
        self._former = signal.set_wakeup_fd(self._sender.fileno(), warn_on_full_buffer=False)

    def called(self) -> bool:
        """Whether this watch, and not another's signal, called the handler; True only once per call."""
        called, self._calling = self._calling, False
        return called

    def close(self) -> None:
        """End the thread, and restore the previous wakeup descriptor."""
        if not self._open:
            return
        self._open = False
        listening = signal.set_wakeup_fd(-1)
        former = self._former if listening == self._sender.fileno() else listening
        with suppress(ValueError, OSError):  # the descriptor may be closed
            signal.set_wakeup_fd(former, warn_on_full_buffer=False)
        self._sender.setblocking(True)
        self._sender.send(b"\0")
        self._thread.join()
        self._receiver.close()
        self._sender.close()

    def forget(self) -> None:
        """Reset the watch in a forked child, which has no such thread, and whose messages would reach the parent's."""
        self._open = False
        signal.set_wakeup_fd(-1)
        self._receiver.close()
        self._sender.close()

    def _watch(self) -> None:
        came: list[int] = []
        began, ends = 0.0, float("inf")
        while True:
            try:
                numbers = self._receiver.recv(64)
            except TimeoutError:
                numbers = b""
            for number in numbers:
                if number == 0:
                    return
                if signal.getsignal(number) != self._handler:
                    self._pass_on(number)
                elif self._sent:
                    self._sent -= 1
                elif not came:
                    came.append(number)
                    began = monotonic()
                elif monotonic() - began > BURST:
                    came.append(number)
            if not came:
                continue
            if len(came) == 1 and numbers:
                self._first()
                self._receiver.settimeout(PERIOD)
            if len(came) > 1:
                ends = min(ends, monotonic() + DEADLINE)
                # Do not end the process of a prompt or a notebook: users would lose more than this run.
                if monotonic() >= ends and not (came[-1] == signal.SIGINT and hasattr(sys, "ps1")):
                    os._exit(128 + came[-1])
            elif self._late():
                self._call(came[0])

    def _pass_on(self, number: int) -> None:
        if self._former >= 0:
            with suppress(OSError):
                os.write(self._former, bytes([number]))

    def _call(self, number: int) -> None:
        """Let the main thread call the handler: send it the signal."""
        if self._calling or signal.getsignal(number) != self._handler:
            return
        self._calling = True
        self._sent += 1
        if hasattr(signal, "pthread_kill"):
            signal.pthread_kill(self._main, number)
        else:
            _thread.interrupt_main(signal.Signals(number))
