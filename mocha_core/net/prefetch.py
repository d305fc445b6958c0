"""A thread that fetches the minibatches that come next, while a net computes."""

from __future__ import annotations

import atexit
import queue
import threading
import weakref
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from mocha_core.host.interrupt import abandonable, patience

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mocha_core.describe.layer import DataLayer


class Loader(Protocol):
    """What a thread fetches for: a feed."""

    @property
    def layer(self) -> DataLayer:
        """Whose rows they are."""

    def buffers(self, batch: int, count: int) -> list[list[NDArray[Any]]]:
        """Arrays for `count` minibatches."""

    def batches_to_epoch(self, batch: int, start: int) -> int:
        """How many minibatches it takes from `start` until the epoch changes."""

    def load(self, start: int, batch: int, wrap: bool, out: Sequence[NDArray[Any]]) -> None:
        """Fetch the `batch` rows after `start` rows into `out`."""


_Free: TypeAlias = "queue.SimpleQueue[list[NDArray[Any]] | None]"
_Ready: TypeAlias = "queue.SimpleQueue[tuple[list[NDArray[Any]], int] | BaseException]"


class Prefetcher:
    """A thread that loads minibatches that come next, up to `together` of them at a time; two blocks wait while one is
    in use.

    Args:
        feed: where from.
        process, start, batch, wrap: which minibatch is the first.
        count: how many minibatches come; None if there is no end.
        together: how many may be loaded at a time, 1 if there is a `count`. It becomes as many while that is quick,
            after some that were quick. A block that fails is loaded again one by one, so that each error is that of its
            minibatch.
    """

    DEPTH = 2
    #: The number of bytes that are loaded at a time at most, and the seconds that this may take, where it is more than
    #: one minibatch. To hand over a small one to the other thread takes longer than to load it.
    BLOCK, QUICK = 2**20, 0.002
    #: The number of blocks that have to be quick before one has several minibatches.
    PROVEN = 8
    #: Seconds that the end of a net, or of the interpreter, waits for sources which are fetching.
    PATIENCE = 5.0

    def __init__(
        self, feed: Loader, process: int, start: int, batch: int, wrap: bool, count: int | None, together: int
    ) -> None:
        self._left = count
        self.upcoming = (process, start, batch, wrap)
        self._free: _Free = queue.SimpleQueue()
        self._ready: _Ready = queue.SimpleQueue()
        self._block: list[NDArray[Any]] | None = None
        self._rows, self._taken = 0, 0  # of the block in use
        for arrays in feed.buffers(batch * together, self.DEPTH + 1):
            self._free.put(arrays)
        # The thread holds neither the feed nor this object, so that both end with the net, and the thread with them.
        self._thread = threading.Thread(
            target=self._work,
            args=(weakref.ref(feed), self._free, self._ready, start, batch, wrap, count, together),
            name=f"prefetch {feed.layer.name}",
            daemon=True,
        )
        self._thread.start()
        _running.add(self)

    @classmethod
    def _work(
        cls,
        feed: weakref.ref[Loader],
        free: _Free,
        ready: _Ready,
        start: int,
        batch: int,
        wrap: bool,
        count: int | None,
        together: int,
    ) -> None:
        most, quick = 1, 0
        while count != 0 and (arrays := free.get()) is not None and (alive := feed()) is not None:
            n = min(most, together)
            if not wrap:  # behind the end of the epoch come no rows
                n = min(n, alive.batches_to_epoch(batch, start))
            begin = monotonic()
            try:
                alive.load(start, n * batch, wrap, [array[: n * batch] for array in arrays])
            except BaseException as error:
                if n == 1:
                    ready.put(error)
                    return
                together = 1
                free.put(arrays)
                continue
            finally:
                del alive
            ready.put((arrays, n * batch))
            start += n * batch
            count = None if count is None else count - 1
            if n == most and monotonic() - begin < cls.QUICK / 2:
                quick += 1
                most *= 2 if quick >= cls.PROVEN else 1

    def __del__(self) -> None:
        self._free.put(None)

    def take(self, waiting: Callable[[], AbstractContextManager[None]] = nullcontext) -> list[NDArray[Any]]:
        """The next minibatch; valid until the next call. Where the thread has to be waited for, enter `waiting`."""
        process, start, size, wrap = self.upcoming
        # If an error or an interrupt comes before the minibatch, no later request takes from this thread.
        self.upcoming = (process, -1, size, wrap)
        if self._taken == self._rows:
            with waiting(), abandonable():
                loaded = self._ready.get()
            if isinstance(loaded, BaseException):
                raise loaded
            if self._block is not None:
                self._free.put(self._block)
            self._block, self._rows = loaded
            self._taken = 0
        assert self._block is not None
        minibatch = [array[self._taken : self._taken + size] for array in self._block]
        self._taken += size
        if self._left is not None:
            self._left -= 1
        if self._left != 0:
            self.upcoming = (process, start + size, size, wrap)
        return minibatch

    def stop(self, patience: float | None) -> bool:
        """Whether the thread ended within so many seconds; None waits as long as it takes."""
        # The thread takes from this queue, too: never wait for what it may have taken.
        with suppress(queue.Empty):
            while True:
                self._free.get_nowait()
        self._free.put(None)
        self._thread.join(patience)
        return not self._thread.is_alive()

    def abandon(self) -> None:
        """It was waited for once: the end of the interpreter does not wait for it again."""
        _running.discard(self)


_running: weakref.WeakSet[Prefetcher] = weakref.WeakSet()


@atexit.register
def _stop_all() -> None:
    """Before the interpreter takes away what the threads use."""
    ends = monotonic() + patience(Prefetcher.PATIENCE)
    for ahead in list(_running):
        ahead.stop(max(ends - monotonic(), 0))
