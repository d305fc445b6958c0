"""`Gate`: how the threads that use one system take turns."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from threading import get_ident
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np

from mocha_core.compile.occupancy import LOST, Occupancy
from mocha_core.compile.waiter import Waiter
from mocha_core.errors import StateError
from mocha_core.host import forks
from mocha_core.host.interrupt import abandonable, keep_whole

if TYPE_CHECKING:
    from numpy.typing import NDArray

keep_whole(__file__)
#: The byte of a `stop` element in which waiting threads ask for their turn. `Solver.stop` sets another byte to 1, in
#: either byte order, so that neither request overwrites the other.
TURN = 1
#: For so many seconds other threads may overtake the oldest one that waits to compute: an exchange costs a wake-up, and
#: the threads of BLAS, which poll for work, then stand in the way of the new one.
OVERTAKING = 5e-3
#: A thread that comes back within `SOON` seconds probably does so again: it wakes no other, since that costs as much as
#: a few small predictions. In case it stays away, the oldest waiting thread looks by itself after `NAP` seconds, a bit
#: later than it would be called, because each look takes the interpreter's lock from the thread that computes.
SOON, NAP = 1e-4, 6e-3


class Gate(AbstractContextManager[None]):
    """Several threads may compute with parameters and states at once, or one thread may change them.

    Threads enter in the order of their requests, and may enter again inside; threads that only
    compute may overtake each other, but the oldest of those that wait for no longer than `OVERTAKING`.

    Attributes:
        version: grows after a thread may have changed something, before other threads can see the change.
    """

    def __init__(self, at_once: int) -> None:
        self.version = 0
        self._lock = threading.Lock()
        self._inside = Occupancy(at_once)
        self._waiting: list[Waiter] = []
        """Threads that wait to enter, the oldest first."""
        self._returning: dict[int, Waiter] = {}
        """Threads that lent their turn and wait to compute again."""
        self._oldest_since = 0.0
        """The time since which the first of `_waiting` has been the first."""
        self._last, self._left = 0, 0.0
        """The thread that left last while others waited, and when."""
        self._soon = False
        """Whether the thread that entered last had left shortly before."""
        self._stop: NDArray[np.int8] | None = None
        forks.renew_in_child(self)

    def shared(self) -> AbstractContextManager[None]:
        """Compute with parameters and states; no thread changes them inside the `with`.

        The context is this object, without a generator, for speed: each prediction, of some microseconds, enters it.

        Raises:
            StateError: `half_changed`.
        """
        return self

    def __enter__(self) -> None:
        me, inside = get_ident(), self._inside
        with self._lock:
            if me in inside.computing:
                inside.computing[me] += 1
                return
            if not self._waiting and inside.may_share():
                inside.computing[me] = 1
                self._soon = False
                return
            self._soon = self._last == me and perf_counter() - self._left < SOON
            if not self._may_enter_after(self._waiting, alone=False):
                self._wait(False)
            inside.computing[me] = 1
            self._call()

    def leave(self, *exception: object) -> None:
        """Leave the context that this thread entered last."""
        me, inside = get_ident(), self._inside
        with self._lock:
            inside.computing[me] -= 1
            if inside.computing[me]:
                return
            del inside.computing[me]
            if inside.alone == me and me not in inside.lent:
                inside.alone = None
                self.version += 1
                if self._stop is not None:
                    self._stop[TURN] = 0
                    self._stop = None
            if self._waiting or self._returning:
                self._last, self._left = me, perf_counter()
                if not (self._soon and self._overtakes and self._oldest_naps):
                    self._call()

    __exit__ = leave

    @contextmanager
    def exclusive(self, stop: NDArray[np.int32] | None = None) -> Iterator[None]:
        """Change parameters and states; no other thread is inside.

        Args:
            stop: its element becomes nonzero when another thread waits, and is reset at the end.

        Raises:
            StateError: this thread is inside `shared`, and would wait for itself; or `half_changed`.
        """
        me, inside = get_ident(), self._inside
        reads = me in inside.computing and (inside.alone != me or me in inside.lent)
        if reads or (me in inside.lent and inside.alone != me):
            raise StateError(
                "What runs inside a forward pass or a prediction, such as an op or a data source written in Python, "
                "changes a parameter or a state. Change them between runs."
            )
        if me in inside.lent and me not in inside.computing:
            with self._returned(me), self.exclusive(stop):
                yield
            return
        with self._lock:
            if inside.alone != me:
                if self._waiting or not inside.may_be_alone():
                    self._wait(True)
                inside.alone = me
                self._stop = None if stop is None else stop.view(np.int8)
                self._ask_for_turn()
            inside.computing[me] = inside.computing.get(me, 0) + 1
        try:
            yield
        finally:
            self.leave()

    @contextmanager
    def lending(self) -> Iterator[None]:
        """Let other threads compute, but not change anything, while this thread waits for data that they may make."""
        me = get_ident()
        if me not in self._inside.computing:
            yield
            return
        self._lend(me)
        try:
            yield
        finally:
            self._take_back(me)

    def grow(self) -> None:
        """Let `version` grow, so that packed copies are made again."""
        with self._lock:
            self.version += 1

    @property
    def half_changed(self) -> bool:
        """Whether this is a forked child, and another thread was changing something when it was forked."""
        return self._inside.alone == LOST

    def renew_locks(self) -> None:
        """In a forked child, forget all threads but the one that forked."""
        self._lock = threading.Lock()
        self._waiting.clear()
        self._returning.clear()
        if self._inside.alone not in (None, get_ident()):
            self._stop = None
            self.version += 1
        self._inside.keep_this_thread()

    @contextmanager
    def _returned(self, me: int) -> Iterator[None]:
        self._take_back(me)
        try:
            yield
        finally:
            self._lend(me)

    def _lend(self, me: int) -> None:
        with self._lock:
            self.version += self._inside.alone == me
            self._inside.lent[me] = self._inside.computing.pop(me)
            self._call()

    def _take_back(self, me: int) -> None:
        inside = self._inside
        with self._lock:
            inside.returning.add(me)
            waiter = self._returning[me] = Waiter(alone=inside.alone == me)
            try:
                self._sleep_until(waiter, lambda: inside.may_return(me))
            finally:  # after an interrupt, too, because this thread will still call `leave`
                self._returning.pop(me, None)
                inside.returning.discard(me)
                inside.computing[me] = inside.lent.pop(me)

    def _wait(self, alone: bool) -> None:
        """Wait for this thread's turn: the oldest waiting thread enters, with others that may share with it."""
        if self.half_changed:
            raise StateError(
                "This process was forked while another thread trained or changed parameters of this System, which may "
                "be half changed here. Fork between runs; or start processes with multiprocessing's 'spawn' method; "
                "or make a System in the child, and load a saved net there."
            )
        waiter = Waiter(alone)
        if not self._waiting:
            self._oldest_since = perf_counter()
        self._waiting.append(waiter)
        self._ask_for_turn()

        def may_enter() -> bool:
            return self._may_enter_after(self._waiting[: self._waiting.index(waiter)], alone)

        entered = False
        try:
            with abandonable():
                self._sleep_until(waiter, may_enter)
            entered = True
        finally:
            if waiter is self._waiting[0]:
                self._oldest_since = perf_counter()
            self._waiting.remove(waiter)
            if not entered:
                self._call()

    def _sleep_until(self, waiter: Waiter, condition: Callable[[], bool]) -> None:
        while not condition():
            waiter.looked()
            self._lock.release()
            try:
                waiter.sleep(self._nap(waiter))
            finally:
                self._lock.acquire()

    def _nap(self, waiter: Waiter) -> float | None:
        """After how many seconds a thread that waits looks by itself; None where another thread always calls it."""
        if waiter.alone or waiter not in self._waiting[:1]:
            return None
        return NAP

    def _may_enter_after(self, older: list[Waiter], alone: bool) -> bool:
        """Whether a thread may enter now, although others have waited for longer."""
        if alone:
            return not older and self._inside.may_be_alone()
        overtakes = not any(waiter.alone for waiter in older) and self._overtakes
        return (not older or overtakes or self._inside.awaits_data) and self._inside.may_share()

    @property
    def _overtakes(self) -> bool:
        return perf_counter() - self._oldest_since < OVERTAKING

    @property
    def _oldest_naps(self) -> bool:
        """Whether threads wait for no more than room, and the oldest of them looks soon."""
        return bool(self._waiting) and self._waiting[0].naps and not self._inside.lent

    def _call(self) -> None:
        """Wake the threads that may enter now, and no more of them than there is room for."""
        inside, room = self._inside, self._inside.free
        for thread, waiter in self._returning.items():
            if inside.may_return(thread):
                waiter.call()
                room -= 1
        for i, waiter in enumerate(self._waiting):
            if room <= 0:
                return
            if self._may_enter_after(self._waiting[:i], waiter.alone):
                waiter.call()
                room -= 1

    def _ask_for_turn(self) -> None:
        if self._stop is not None and self._waiting:
            self._stop[TURN] = 1
