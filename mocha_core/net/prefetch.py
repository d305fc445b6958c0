"""A thread that fetches the minibatches that come next, while a net computes."""

from __future__ import annotations

import atexit
import queue
import threading
import weakref
from collections.abc import Sequence
from contextlib import suppress
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

    def load(self, start: int, batch: int, wrap: bool, out: Sequence[NDArray[Any]]) -> None:
        """Fetch the minibatch after `start` rows into `out`."""


_Free: TypeAlias = "queue.SimpleQueue[list[NDArray[Any]] | None]"
_Ready: TypeAlias = "queue.SimpleQueue[list[NDArray[Any]] | BaseException]"


class Prefetcher:
    """A thread that loads `count` minibatches that come next, or any number; two wait while one is in use."""

    DEPTH = 2
    #: Seconds that the end of a net, or of the interpreter, waits for sources which are fetching.
    PATIENCE = 5.0

    def __init__(self, feed: Loader, process: int, start: int, batch: int, wrap: bool, count: int | None) -> None:
        self._left = count
        self.upcoming = (process, start, batch, wrap)
        self._free: _Free = queue.SimpleQueue()
        self._ready: _Ready = queue.SimpleQueue()
        self._in_use: list[NDArray[Any]] | None = None
        for arrays in feed.buffers(batch, self.DEPTH + 1):
            self._free.put(arrays)
        # The thread holds neither the feed nor this object, so that both end with the net, and the thread with them.
        self._thread = threading.Thread(
            target=self._work,
            args=(weakref.ref(feed), self._free, self._ready, start, batch, wrap, count),
            name=f"prefetch {feed.layer.name}",
            daemon=True,
        )
        self._thread.start()
        _running.add(self)

    @staticmethod
    def _work(
        feed: weakref.ref[Loader], free: _Free, ready: _Ready, start: int, batch: int, wrap: bool, count: int | None
    ) -> None:
        while count != 0 and (arrays := free.get()) is not None and (alive := feed()) is not None:
            try:
                alive.load(start, batch, wrap, arrays)
            except BaseException as error:
                ready.put(error)
                return
            del alive
            ready.put(arrays)
            start += batch
            count = None if count is None else count - 1

    def __del__(self) -> None:
        self._free.put(None)

    def take(self) -> list[NDArray[Any]]:
        process, start, size, wrap = self.upcoming
        # If an error or an interrupt comes before the minibatch, no later request takes from this thread.
        self.upcoming = (process, -1, size, wrap)
        with abandonable():
            batch = self._ready.get()
        if isinstance(batch, BaseException):
            raise batch
        if self._in_use is not None:
            self._free.put(self._in_use)
        self._in_use = batch
        if self._left is not None:
            self._left -= 1
        if self._left != 0:
            self.upcoming = (process, start + size, size, wrap)
        return batch

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
