"""Feeds: which rows a net takes next, and a thread that fetches them ahead.

The order of rows is a pure function of seed, epoch and position, so all there is to save of a data set is how
many rows were consumed.
"""

from __future__ import annotations

import atexit
import os
import queue
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from mocha_core.compile.budget import taking
from mocha_core.describe.source import Source
from mocha_core.errors import DataError, MochaError, ShapeError
from mocha_core.graph.value import Spec, nbytes
from mocha_core.log import logger

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mocha_core.describe.layer import DataLayer


class Feeds(dict[str, "Feed"]):
    """The feeds of a net by the name of their data layer. The first one decides about epochs."""

    @property
    def first(self) -> Feed:
        return next(iter(self.values()))

    def check_same(self, what: str, of: Callable[[Feed], int]) -> None:
        """Raise `ShapeError` unless all feeds have the same of something."""
        if len({of(feed) for feed in self.values()}) > 1:
            listed = ", ".join(f"'{name}' {of(feed)}" for name, feed in self.items())
            raise ShapeError(f"Expected the same {what} in all data layers of a net, received {listed}.")

    def begin(self, wrap: bool) -> None:
        """A run starts at the cursors."""
        for feed in self.values():
            feed.begin(wrap)

    def advance(self, minibatches: int) -> None:
        """So many minibatches were consumed."""
        for feed in self.values():
            feed.seek(feed.cursor + minibatches * feed.layer.batch_size)

    @contextmanager
    def restored(self) -> Iterator[None]:
        """Afterwards all cursors are where they were."""
        cursors = {name: feed.cursor for name, feed in self.items()}
        try:
            yield
        finally:
            for name, feed in self.items():
                feed.seek(cursors[name])

    @contextmanager
    def rewound(self) -> Iterator[None]:
        """All cursors at the beginning of the data; afterwards they are where they were."""
        with self.restored():
            for feed in self.values():
                feed.seek(0)
            yield

    def close(self) -> None:
        """Stop the prefetching threads and close the sources."""
        for feed in self.values():
            feed.close()


class Feed:
    """One net's way through a source: a cursor, and the minibatches that follow it.

    `cursor` counts the rows consumed since the beginning; epoch and position follow from it.
    """

    #: Seconds that closing waits for a source which is fetching.
    PATIENCE = 5.0

    def __init__(self, layer: DataLayer, source: Source, dtype: str) -> None:
        if source.rows < 1:
            raise DataError(f"Layer '{layer.name}': its source has no rows. Give it at least one.")
        self.layer = layer
        self.source = source
        self.dtype = dtype
        self.cursor = 0
        self._orders: dict[int, NDArray[np.int64]] = {}
        self._ahead: _Prefetcher | None = None
        self._next = 0
        self._wrap = True
        self._out: dict[int, list[NDArray[Any]]] = {}

    @property
    def epoch(self) -> int:
        """How often the whole source has been consumed."""
        return self.cursor // self.source.rows

    def specs(self, batch: int) -> tuple[Spec, ...]:
        """Specs of a minibatch: tops are of the net's dtype, whatever the source holds."""
        return tuple(Spec((batch, *spec.shape), self.dtype) for spec in self.source.specs)

    def rows_from(self, start: int, batch: int, wrap: bool = True) -> NDArray[np.int64]:
        """Row numbers of the minibatch that begins after `start` rows.

        With `wrap` it runs on into the next epoch; without, the epoch's last row fills it up.
        """
        n, end = self.source.rows, start + batch
        if not wrap:
            end = min(end, start - start % n + n)
        epochs = range(start // n, -(-end // n))
        rows = np.concatenate([self._order(e)[max(start - e * n, 0) : end - e * n] for e in epochs])
        return rows if len(rows) == batch else rows[np.minimum(np.arange(batch), len(rows) - 1)]

    def batches_to_epoch(self, batch: int) -> int:
        """How many minibatches of `batch` rows it takes until the epoch changes."""
        return -(-(self.source.rows - self.cursor % self.source.rows) // batch)

    @property
    def nbytes(self) -> int:
        """Bytes of the whole source in the net's dtype."""
        return sum(nbytes(spec) for spec in self.specs(self.source.rows))

    def everything(self) -> list[NDArray[Any]]:
        """All rows, in their own order."""
        (arrays,) = self.buffers(self.source.rows)
        self._fetch(np.arange(self.source.rows, dtype=np.int64), arrays)
        return arrays

    def begin(self, wrap: bool) -> None:
        """A run starts at the cursor."""
        self._next = self.cursor
        self._wrap = wrap

    def fetch(self, batch: int) -> list[NDArray[Any]]:
        """The next minibatch of the run; valid until the next call.

        Raises:
            MochaError: what the source raised, also when a prefetching thread met it; anything else that it
                raised is the cause of a `DataError`.
        """
        if not self.source.prefetch:
            if batch not in self._out:
                (self._out[batch],) = self.buffers(batch)
            self.load(self._next, batch, self._wrap, self._out[batch])
            arrays = self._out[batch]
        else:
            # A forked process has the queues, but not the thread.
            wanted = (os.getpid(), self._next, batch, self._wrap)
            if self._ahead is None or self._ahead.upcoming != wanted:
                self._stop()
                self._ahead = _Prefetcher(self, *wanted)
            arrays = self._ahead.take()
        self._next += batch
        return arrays

    def seek(self, cursor: int) -> None:
        """Continue after `cursor` rows."""
        self.cursor = cursor

    def close(self) -> None:
        """Stop the prefetching thread and close the source, unless the thread is held up in it."""
        if self._stop(self.PATIENCE):
            self.source.close()

    def _stop(self, patience: float | None = None) -> bool:
        if self._ahead is None or self._ahead.stop(patience):
            self._ahead = None
            return True
        logger.warning(
            f"Layer '{self.layer.name}': its source has not come back for {patience:g} seconds. Its thread and its "
            "files are left behind until it does."
        )
        return False

    def _order(self, epoch: int) -> NDArray[np.int64]:
        order = self._orders.get(epoch)
        if order is None:
            numbers = Spec((self.source.rows,), "int64")
            what = f"Layer '{self.layer.name}', row numbers of an epoch"
            with self._naming_layer("order"), taking(what, [("order", numbers)], "Use a smaller data set."):
                order = self.source.order(epoch)
                if order.shape != numbers.shape:
                    raise ValueError(f"expected row numbers of shape {numbers.shape}, received {order.shape}")
            self._orders = {e: o for e, o in self._orders.items() if e >= epoch - 1} | {epoch: order}
        return order

    def buffers(self, batch: int, count: int = 1) -> list[list[NDArray[Any]]]:
        """Arrays for `count` minibatches.

        Raises:
            BackendError: the host has not so much memory left.
        """
        specs = self.specs(batch)
        pieces = [(f"{self.layer.name}.{top}", spec) for top, spec in zip(self.layer.tops, specs, strict=True)]
        what = f"Layer '{self.layer.name}', buffers for minibatches of {batch:,} rows"
        with taking(what, pieces * count, "Use a smaller batch_size."):
            return [[np.empty(*spec) for spec in specs] for _ in range(count)]

    def load(self, start: int, batch: int, wrap: bool, out: list[NDArray[Any]]) -> None:
        """Fetch the minibatch after `start` rows into `out`; called by the prefetching thread, too."""
        self._fetch(self.rows_from(start, batch, wrap), out)

    def _fetch(self, rows: NDArray[np.int64], out: list[NDArray[Any]]) -> None:
        with self._naming_layer("fetch"):
            result: object = self.source.fetch(rows, tuple(out))
            if result is not None:
                raise TypeError(f"expected rows in the arrays that it is given, and received {type(result).__name__}")

    @contextmanager
    def _naming_layer(self, method: str) -> Iterator[None]:
        """What a source raises is a `MochaError`, or the cause of one."""
        try:
            yield
        except MochaError:
            raise
        except Exception as error:
            raise DataError(
                f"Layer '{self.layer.name}': {method}() of its source, {type(self.source).__name__}, failed: "
                f"{type(error).__name__}: {error}. Look at that error above; the data or the source has to be mended."
            ) from error


_Free: TypeAlias = "queue.SimpleQueue[list[NDArray[Any]] | None]"
_Ready: TypeAlias = "queue.SimpleQueue[list[NDArray[Any]] | BaseException]"


class _Prefetcher:
    """A thread that loads the minibatches that come next; two wait while one is in use."""

    DEPTH = 2

    def __init__(self, feed: Feed, process: int, start: int, batch: int, wrap: bool) -> None:
        self.upcoming = (process, start, batch, wrap)
        self._free: _Free = queue.SimpleQueue()
        self._ready: _Ready = queue.SimpleQueue()
        self._in_use: list[NDArray[Any]] | None = None
        for arrays in feed.buffers(batch, self.DEPTH + 1):
            self._free.put(arrays)
        # The thread holds neither the feed nor this object, so that both end with the net, and the thread with them.
        self._thread = threading.Thread(
            target=self._work,
            args=(weakref.ref(feed), self._free, self._ready, start, batch, wrap),
            name=f"prefetch {feed.layer.name}",
            daemon=True,
        )
        self._thread.start()
        _running.add(self)

    @staticmethod
    def _work(feed: weakref.ref[Feed], free: _Free, ready: _Ready, start: int, batch: int, wrap: bool) -> None:
        while (arrays := free.get()) is not None and (alive := feed()) is not None:
            try:
                alive.load(start, batch, wrap, arrays)
            except BaseException as error:
                ready.put(error)
                return
            del alive
            ready.put(arrays)
            start += batch

    def __del__(self) -> None:
        self._free.put(None)

    def take(self) -> list[NDArray[Any]]:
        process, start, size, wrap = self.upcoming
        # Until the minibatch is in hand: after an error or an interrupt this thread is not asked again.
        self.upcoming = (process, -1, size, wrap)
        batch = self._ready.get()
        if isinstance(batch, BaseException):
            raise batch
        if self._in_use is not None:
            self._free.put(self._in_use)
        self._in_use = batch
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


_running: weakref.WeakSet[_Prefetcher] = weakref.WeakSet()


@atexit.register
def _stop_all() -> None:
    """Before the interpreter takes away what the threads use."""
    for ahead in list(_running):
        ahead.stop(Feed.PATIENCE)
