"""`Waiter`: a thread that waits to enter a gate."""

from __future__ import annotations

import threading


class Waiter:
    """A thread, and the lock on which it sleeps. The lock of the gate guards it.

    It is in a file of its own because a signal may end the sleep, but no other function of the gate.

    Attributes:
        alone: whether it wants to be alone inside.
        naps: whether it looks after a while without a call.
    """

    def __init__(self, alone: bool) -> None:
        self.alone = alone
        self.naps = False
        self._called = False
        self._asleep = threading.Lock()
        self._asleep.acquire()

    def call(self) -> None:
        """Wake it, to look whether it may enter. Until it has looked, it is not called again."""
        if not self._called:
            self._called = True
            self._asleep.release()

    def looked(self) -> None:
        """It may not enter yet."""
        self._called = False

    def sleep(self, longest: float | None) -> None:
        """Wait for a call, for at most so many seconds."""
        self.naps = longest is not None
        self._asleep.acquire(timeout=-1 if longest is None else longest)
