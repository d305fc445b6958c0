"""`Gate`: how the threads that use one system take turns."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import count
from typing import TYPE_CHECKING

import numpy as np

from mocha_core.errors import StateError
from mocha_core.host import forks
from mocha_core.host.interrupt import abandonable, keep_whole

if TYPE_CHECKING:
    from numpy.typing import NDArray

keep_whole(__file__)
#: The byte of a `stop` element in which waiting threads ask for their turn. `Solver.stop` sets another byte to 1, in
#: either byte order, so that neither request overwrites the other.
TURN = 1
#: Takes the place of the thread that is alone in a forked child, where that thread does not exist.
LOST = -1
#: How many threads may overtake one that waits to compute: each exchange of threads costs a wake-up.
OVERTAKINGS = 16


class _Sharing(AbstractContextManager[None]):
    """A context without state, and not a generator, for speed: each prediction, of some microseconds, enters it."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def __enter__(self) -> None:
        self._gate.share()

    def __exit__(self, *exception: object) -> None:
        self._gate.leave()


class Gate:
    """Several threads may compute with parameters and states at once, or one thread may change them.

    Threads enter in the order of their requests, and may enter again inside; threads that only
    compute may overtake each other, but none waits for more than `OVERTAKINGS` of them.

    Attributes:
        at_once: how many threads may compute at once.
        version: grows after a thread may have changed something, before other threads can see the change.
    """

    def __init__(self, at_once: int) -> None:
        self.at_once = at_once
        self.version = 0
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._tickets = count()
        self._waiting: dict[int, bool] = {}
        """Waiting threads by ticket, the oldest first: whether the thread wants to be alone."""
        self._overtakings = 0
        self._inside: dict[int, int] = {}
        """How often each thread that computes has entered, by thread."""
        self._lent: dict[int, int] = {}
        """The same for threads that entered and now wait for data, without computing."""
        self._returning: set[int] = set()
        """Those of them that have their data, and wait for the threads that they let in."""
        self._sharing = _Sharing(self)
        self._alone: int | None = None
        self._stop: NDArray[np.int8] | None = None
        forks.renew_in_child(self)

    def shared(self) -> AbstractContextManager[None]:
        """Compute with parameters and states; no thread changes them inside the `with`."""
        return self._sharing

    @contextmanager
    def exclusive(self, stop: NDArray[np.int32] | None = None) -> Iterator[None]:
        """Change parameters and states; no other thread is inside.

        Args:
            stop: its element becomes nonzero when another thread waits, and is reset at the end.

        Raises:
            StateError: this thread is inside `shared`, and would wait for itself; or `half_changed`.
        """
        me = threading.get_ident()
        reads = me in self._inside and (self._alone != me or me in self._lent)
        if reads or (me in self._lent and self._alone != me):
            raise StateError(
                "What runs inside a forward pass or a prediction, such as an op or a data source written in Python, "
                "changes a parameter or a state. Change them between runs."
            )
        if me in self._lent and me not in self._inside:
            with self._returned(me), self.exclusive(stop):
                yield
            return
        with self._lock:
            if self._alone != me:
                self._wait(True, self._may_be_alone)
                self._alone = me
                self._stop = None if stop is None else stop.view(np.int8)
                self._ask_for_turn()
            self._inside[me] = self._inside.get(me, 0) + 1
        try:
            yield
        finally:
            self.leave()

    @contextmanager
    def lending(self) -> Iterator[None]:
        """Let other threads compute, but not change anything, while this thread waits for data that they may make."""
        me = threading.get_ident()
        if me not in self._inside:
            yield
            return
        self._lend(me)
        try:
            yield
        finally:
            self._take_back(me)

    @contextmanager
    def _returned(self, me: int) -> Iterator[None]:
        self._take_back(me)
        try:
            yield
        finally:
            self._lend(me)

    def _lend(self, me: int) -> None:
        with self._lock:
            self.version += self._alone == me
            self._lent[me] = self._inside.pop(me)
            self._changed.notify_all()

    def _take_back(self, me: int) -> None:
        with self._lock:
            self._returning.add(me)
            try:
                self._changed.wait_for(self._may_go_on)
            finally:  # after an interrupt, too, because this thread will still call `leave`
                self._returning.remove(me)
                self._inside[me] = self._lent.pop(me)

    def grow(self) -> None:
        """Let `version` grow, so that packed copies are made again."""
        with self._lock:
            self.version += 1

    @property
    def half_changed(self) -> bool:
        """Whether this is a forked child, and another thread was changing something when it was forked."""
        return self._alone == LOST

    def share(self) -> None:
        """Enter `shared`.

        Raises:
            StateError: `half_changed`.
        """
        me = threading.get_ident()
        with self._lock:
            if me in self._inside:
                self._inside[me] += 1
                return
            if self._waiting or not self._may_share():
                self._wait(False, self._may_share)
            self._inside[me] = 1

    def leave(self) -> None:
        """Leave the context that this thread entered last."""
        me = threading.get_ident()
        with self._lock:
            self._inside[me] -= 1
            if self._inside[me]:
                return
            del self._inside[me]
            if self._alone == me and me not in self._lent:
                self._alone = None
                self.version += 1
                if self._stop is not None:
                    self._stop[TURN] = 0
                    self._stop = None
            if self._waiting or self._lent or self._alone is not None:
                self._changed.notify_all()

    def _wait(self, alone: bool, may_enter: Callable[[], bool]) -> None:
        """Wait for this thread's turn: the oldest waiting thread enters, with others that may share with it."""
        if not self._waiting and may_enter():
            return
        if self.half_changed:
            raise StateError(
                "This process was forked while another thread trained or changed parameters of this System, which may "
                "be half changed here. Fork between runs; or start processes with multiprocessing's 'spawn' method; "
                "or make a System in the child, and load a saved net there."
            )
        ticket = next(self._tickets)
        self._waiting[ticket] = alone
        self._ask_for_turn()

        def may() -> bool:
            older = [wants_alone for other, wants_alone in self._waiting.items() if other < ticket]
            if alone:
                return not older and may_enter()
            # A thread that lent its turn may wait for data that this thread makes.
            passes = not older or (self._overtakings < OVERTAKINGS and not any(older))
            return (not self._lent.keys() <= self._returning or passes) and may_enter()

        try:
            with abandonable():
                self._changed.wait_for(may)
        finally:
            self._overtakings = 0 if ticket == min(self._waiting) else self._overtakings + 1
            del self._waiting[ticket]
            self._changed.notify_all()

    def renew_locks(self) -> None:
        """In a forked child, forget all threads but the one that forked."""
        me = threading.get_ident()
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._waiting.clear()
        if self._alone not in (None, me):
            # A thread that waits for data has lent its turn between two minibatches, where all is whole.
            self._alone = None if self._alone in self._lent else LOST
            self._stop = None
            self.version += 1
        for threads in (self._inside, self._lent):
            for other in threads.keys() - {me}:
                del threads[other]

    def _may_share(self) -> bool:
        lends = self._alone in self._lent and self._alone not in self._returning
        return len(self._inside) < self.at_once and (self._alone is None or lends)

    def _may_be_alone(self) -> bool:
        return not self._inside and not self._lent and self._alone is None

    def _may_go_on(self) -> bool:
        """Whether a thread that lent its turn may compute again."""
        if self._alone == threading.get_ident():
            return not self._inside
        return len(self._inside) < self.at_once

    def _ask_for_turn(self) -> None:
        if self._stop is not None and self._waiting:
            self._stop[TURN] = 1
