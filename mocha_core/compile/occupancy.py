"""`Occupancy`: which threads compute with parameters and states, and which threads this lets in."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

#: Takes the place of the thread that is alone in a forked child, where that thread does not exist.
LOST = -1


@dataclass
class Occupancy:
    """The threads inside a gate. A thread may enter several times.

    Attributes:
        at_once: how many threads may compute at once.
        computing: how often each thread that computes has entered.
        lent: the same for threads that entered and now wait for data, without computing.
        returning: those of them that have their data, and wait for the threads that they let in.
        alone: the thread that may change something, also while it lends its turn.
    """

    at_once: int
    computing: dict[int, int] = field(default_factory=dict)
    lent: dict[int, int] = field(default_factory=dict)
    returning: set[int] = field(default_factory=set)
    alone: int | None = None

    @property
    def free(self) -> int:
        """How many more threads may compute."""
        return self.at_once - len(self.computing)

    @property
    def awaits_data(self) -> bool:
        """Whether a thread waits for data, which may come from any thread that waits to compute."""
        return not self.lent.keys() <= self.returning

    def may_share(self) -> bool:
        if len(self.computing) >= self.at_once:
            return False
        return self.alone is None or (self.alone in self.lent and self.alone not in self.returning)

    def may_be_alone(self) -> bool:
        return not self.computing and not self.lent and self.alone is None

    def may_return(self, thread: int) -> bool:
        """Whether a thread that lent its turn may compute again."""
        return not self.computing if self.alone == thread else self.free > 0

    def keep_this_thread(self) -> None:
        """In a forked child, forget all threads but the one that forked."""
        me = threading.get_ident()
        if self.alone not in (None, me):
            # A thread that waits for data has lent its turn between two minibatches, where all is whole.
            self.alone = None if self.alone in self.lent else LOST
        for threads in (self.computing, self.lent):
            for other in threads.keys() - {me}:
                del threads[other]
        self.returning &= {me}
