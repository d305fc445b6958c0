"""Feeds: which rows a net takes next.

The order of rows is a pure function of seed, epoch and position, so a snapshot only needs the number of rows that
were consumed. Rows that may change are fetched for every minibatch.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from operator import index
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from mocha_core import checks
from mocha_core.compile.budget import allocating
from mocha_core.describe.source import Source
from mocha_core.describe.transformer import seeds
from mocha_core.errors import ConfigurationError, DataError, MochaError, ShapeError, StateError, blaming
from mocha_core.graph.value import Spec, nbytes
from mocha_core.host.interrupt import abandonable, patience
from mocha_core.log import logger
from mocha_core.net.named import Named
from mocha_core.net.order import Order, failed
from mocha_core.net.prefetch import Prefetcher

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mocha_core.describe.layer import DataLayer


class Feeds(Named["Feed"]):
    """The feeds of a net by the name of their data layer. The first one counts the net's epochs."""

    _owner = "The net", "data layer"

    def __reduce__(self) -> NoReturn:
        raise StateError(
            "The feeds of a net cannot be copied or pickled: they read its sources. Keep where they are, "
            "{name: feed.cursor for name, feed in net.feeds.items()}, and go on there with feed.seek(cursor)."
        )

    @property
    def first(self) -> Feed:
        return next(iter(self.values()))

    def join(self) -> None:
        """Let all feeds take their rows in one order.

        Raises:
            ShapeError: they have different batch sizes or numbers of rows.
            ConfigurationError: they are shuffled differently.
        """
        if len({feed.layer.batch_size for feed in self.values()}) > 1:
            listed = ", ".join(f"'{name}' {feed.layer.batch_size}" for name, feed in self.items())
            raise ShapeError(f"Expected the same batch_size in all data layers of a net, received {listed}.")
        if self:
            order = Order({name: feed.source for name, feed in self.items()})
            for feed in self.values():
                feed.order = order

    def check_batch(self) -> None:
        """Raise `ShapeError` where a minibatch would hold a row twice."""
        for feed in self.values():
            if feed.layer.batch_size > feed.source.rows:
                raise ShapeError(
                    f"Layer '{feed.layer.name}': expected at least as many rows as its batch_size, "
                    f"{feed.layer.batch_size}, received {feed.source.rows}: a minibatch would hold rows twice. Use "
                    f"batch_size={feed.source.rows} or less; net.forward_epoch() takes any."
                )

    def begin(self, wrap: bool, minibatches: int = 1) -> None:
        """Start a run of `minibatches` at the cursors. With `wrap` it goes on from epoch to epoch.

        Raises:
            ShapeError: a minibatch would hold a row twice.
        """
        if wrap:
            self.check_batch()
        for feed in self.values():
            feed.begin(wrap, minibatches)

    def advance(self, minibatches: int) -> None:
        """Move the cursors on by `minibatches`."""
        for feed in self.values():
            feed.seek(feed.cursor + minibatches * feed.layer.batch_size)

    @contextmanager
    def restored(self) -> Iterator[None]:
        """At the end of the `with`, put all cursors back to where they are now."""
        cursors = {name: feed.cursor for name, feed in self.items()}
        try:
            yield
        finally:
            for name, feed in self.items():
                feed.seek(cursors[name])

    @contextmanager
    def rewound(self) -> Iterator[None]:
        """Move all cursors to the beginning of the data; at the end of the `with`, put them back."""
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

    def __init__(
        self,
        layer: DataLayer,
        source: Source,
        dtype: str,
        seed: int = 0,
        lending: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        _check_table(layer, source)
        _check_fetch(layer, source)
        self.layer = layer
        self.source = source
        self.dtype = dtype
        self.order = Order({layer.name: source})
        self.lending = lending
        """A run enters it while it waits for rows, so that other threads can compute; a source may wait for them."""
        self.using: Callable[[], AbstractContextManager[None]] = nullcontext
        """Every use of the net that the feed belongs to enters it; it raises where another thread uses the net."""
        self.cursor = 0
        chosen = [transformer for _, transformer in layer.transformers]
        listed = zip(layer.transformers, seeds(seed, chosen), strict=True)
        self._transformers = [(top, transformer, own) for (top, transformer), own in listed]
        self._rows_in: dict[str, NDArray[Any]] = {}
        self._ahead: Prefetcher | None = None
        self._next = 0
        self._wrap = True
        self._left = 0
        self._out: dict[int, list[NDArray[Any]]] = {}
        tops = [*layer.tops, *[""] * len(source.specs)]  # the recorder raises if their numbers differ
        self._row_specs = [self._transformed(top, spec) for top, spec in zip(tops, source.specs, strict=False)]

    @property
    def fixed(self) -> bool:
        """Whether every row is the same in all epochs, so that it may be cached."""
        return self.source.fixed and all(transformer.fixed for _, transformer, _ in self._transformers)

    @property
    def epoch(self) -> int:
        """How often the whole source has been consumed."""
        return self.cursor // self.source.rows

    def specs(self, batch: int) -> tuple[Spec, ...]:
        """Specs of a minibatch: tops are of the net's dtype, whatever the source holds."""
        return tuple(Spec((batch, *spec.shape), self.dtype) for spec in self._row_specs)

    def _transformed(self, top: str, row: Spec) -> Spec:
        """The spec of a row after the last transformer of a top."""
        for name, transformer, _ in self._transformers:
            if name == top:
                with blaming(f"Layer '{self.layer.name}', infer() of the transformer {transformer}", "Fix it."):
                    shape, _ = transformer.infer(Spec(row.shape, self.dtype))
                    row = Spec(tuple(map(index, shape)), self.dtype)
        return row

    def rows_from(self, start: int, batch: int, wrap: bool = True) -> NDArray[np.int64]:
        """Row numbers of the minibatch that begins after `start` rows.

        With `wrap` it runs on into the next epoch; without, the epoch's last row fills it up.
        """
        return self.order.rows_from(start, batch, wrap)

    def batches_to_epoch(self, batch: int, start: int | None = None) -> int:
        """How many minibatches of `batch` rows it takes until the epoch changes, from the cursor or after `start`."""
        start = self.cursor if start is None else start
        return -(-(self.source.rows - start % self.source.rows) // batch)

    def _together(self, batch: int) -> int:
        """How many minibatches may be loaded at a time: several where they are small, and rows are always the same."""
        return max(1, Prefetcher.BLOCK // sum(map(nbytes, self.specs(batch)))) if self.source.fixed else 1

    @property
    def nbytes(self) -> int:
        """Bytes of the whole source in the net's dtype."""
        return sum(nbytes(spec) for spec in self.specs(self.source.rows))

    def everything(self) -> list[NDArray[Any]]:
        """All rows, in their own order."""
        (arrays,) = self.buffers(self.source.rows)
        self._fetch(np.arange(self.source.rows, dtype=np.int64), 0, arrays)
        self._rows_in.clear()
        return arrays

    def begin(self, wrap: bool, minibatches: int = 1) -> None:
        """Start a run of `minibatches` at the cursor."""
        self._next = self.cursor
        self._wrap = wrap
        self._left = minibatches
        if not self.source.fixed:
            self._discard_ahead()  # the rows may have changed since

    def fetch(self, batch: int, out: Sequence[NDArray[Any]] = ()) -> Sequence[NDArray[Any]]:
        """The next minibatch of the run; valid until the next call.

        Args:
            batch: how many rows.
            out: C-ordered arrays of the net's dtype. They are written and returned if no thread fetches ahead.

        Raises:
            MochaError: the source raised it, in this thread or in a prefetching thread.
            DataError: the source raised another exception, which is the cause of this one.
        """
        # A forked process has the queues, but not the thread.
        wanted = (os.getpid(), self._next, batch, self._wrap)
        ready = self._ahead is not None and self._ahead.upcoming == wanted
        if not ready:
            self._discard_ahead()
            if self.source.prefetch and (self.source.fixed or self._left > 1):
                count = None if self.source.fixed else self._left
                self._ahead = Prefetcher(self, *wanted, count, self._together(batch))
        arrays: Sequence[NDArray[Any]]
        if self._ahead is not None:
            arrays = self._ahead.take(self.lending)
        else:
            if not out and batch not in self._out:
                (self._out[batch],) = self.buffers(batch)
            arrays = out or self._out[batch]
            with self.lending(), abandonable():
                self.load(self._next, batch, self._wrap, arrays)
        self._next += batch
        self._left -= 1
        return arrays

    def _discard_ahead(self) -> None:
        """Stop the prefetching thread. Its fetch may wait for a prediction, so other threads may compute meanwhile."""
        with self.lending(), abandonable():
            self._stop()

    def seek(self, cursor: int) -> None:
        """Continue after `cursor` rows.

        Raises:
            ConfigurationError: it is not an integer of at least 0.
            StateError: another thread uses the net.
        """
        with self.using():
            self.cursor = checks.integer(f"Layer '{self.layer.name}'", "cursor", cursor, at_least=0)

    def __reduce__(self) -> NoReturn:
        raise StateError(
            f"The feed of layer '{self.layer.name}' cannot be copied or pickled: it reads a source. Keep where it is, "
            "feed.cursor, and go on there with feed.seek(cursor)."
        )

    def close(self) -> None:
        """Stop the prefetching thread and close the source, unless the thread is held up in it."""
        if self._stop(patience(Prefetcher.PATIENCE)):
            self.source.close()

    def _stop(self, within: float | None = None) -> bool:
        if self._ahead is None or self._ahead.stop(within):
            self._ahead = None
            return True
        self._ahead.abandon()
        logger.warning(
            f"Layer '{self.layer.name}': its source has not come back for {within:g} seconds. Its thread and its "
            "files are left behind until it does."
        )
        return False

    def buffers(self, batch: int, count: int = 1) -> list[list[NDArray[Any]]]:
        """Arrays for `count` minibatches.

        Raises:
            BackendError: the host has too little memory left.
        """
        specs = self.specs(batch)
        pieces = [(f"{self.layer.name}.{top}", spec) for top, spec in zip(self.layer.tops, specs, strict=True)]
        what = f"Layer '{self.layer.name}', buffers for minibatches of {batch:,} rows"
        with allocating(what, pieces * count, "Use a smaller batch_size."):
            return [[np.empty(*spec) for spec in specs] for _ in range(count)]

    def load(self, start: int, batch: int, wrap: bool, out: Sequence[NDArray[Any]]) -> None:
        """Fetch the minibatch after `start` rows into `out`. The prefetching thread calls this, too."""
        done = 0
        for epoch, rows in self.order.parts(start, batch, wrap):
            self._fetch(rows, epoch, [array[done : done + len(rows)] for array in out])
            done += len(rows)
        if done < batch:
            for array in out:
                array[done:] = array[done - 1]

    def _fetch(self, rows: NDArray[np.int64], epoch: int, out: Sequence[NDArray[Any]]) -> None:
        """Rows of one epoch, transformed. The source gets its own copy of the row numbers, which it may change."""
        fetched = [
            self._room(len(rows), top, spec) if any(top == name for name, _, _ in self._transformers) else array
            for top, spec, array in zip(self.layer.tops, self.source.specs, out, strict=True)
        ]
        try:
            result: object = self.source.fetch(np.array(rows), epoch, tuple(fetched))
            if result is not None:
                raise TypeError(f"expected rows in the arrays that it is given, and received {type(result).__name__}")
        except MochaError:
            raise
        except Exception as error:
            raise failed(self.layer.name, self.source, "fetch", error) from error
        for top, array, target in zip(self.layer.tops, fetched, out, strict=True):
            if target is not array:
                self._transform(top, array, rows, epoch, target)

    def _transform(
        self, top: str, array: NDArray[Any], rows: NDArray[np.int64], epoch: int, target: NDArray[Any]
    ) -> None:
        for name, transformer, seed in self._transformers:
            if name == top:
                what = f"Layer '{self.layer.name}', top '{top}', epoch {epoch}: transform() of {transformer}"
                expected = (len(rows), *transformer.infer(Spec(array.shape[1:], self.dtype)).shape)
                with blaming(what, "Fix it, or look at the rows that it was given."):
                    array = transformer.transform(array, seed, epoch, np.array(rows))
                    array = np.require(checks.numbers(what, array), self.dtype, "W")
                if array.shape != expected:
                    raise DataError(
                        f"{what} returned an array of shape {array.shape}, but inferred {expected}. Fix it."
                    )
        target[...] = array

    def _room(self, count: int, top: str, row: Spec) -> NDArray[Any]:
        """An array for the rows that a transformer reads; the next minibatch uses it again."""
        there = self._rows_in.get(top)
        if there is None or len(there) < count:
            spec = Spec((count, *row.shape), self.dtype)
            what = f"Layer '{self.layer.name}', rows to transform"
            with allocating(what, [(f"{self.layer.name}.{top}", spec)], "Use a smaller batch_size."):
                there = self._rows_in[top] = np.empty(*spec)
        return there[:count]


def _check_table(layer: DataLayer, source: Source) -> None:
    """Raise `DataError` where a source does not say how many rows it has, and of what shapes."""
    rows: Any = source.rows
    specs: Any = source.specs
    shaped = isinstance(specs, list | tuple) and all(isinstance(spec, Spec) for spec in specs)
    if not hasattr(rows, "__index__") or not shaped:
        raise DataError(
            f"Layer '{layer.name}': expected its source, {type(source).__name__}, to have rows, an integer, and specs, "
            f"a Spec(shape, dtype) of one row for each top; it has {checks.shown(rows)} and {checks.shown(specs)}."
        )
    if rows < 1:
        raise DataError(f"Layer '{layer.name}': its source has no rows. Give it at least one.")


def _check_fetch(layer: DataLayer, source: Source) -> None:
    """Raise `ConfigurationError` where a source has the outdated method fetch(rows, out), without the epoch."""
    try:
        taken = inspect.signature(source.fetch)
    except ValueError:  # compiled code has no signature
        return
    try:
        names = list(taken.bind(0, 0, 0).arguments)
    except TypeError:  # it takes fewer or more arguments
        names = ["rows", "out"]
    if names[1:2] == ["out"]:
        raise ConfigurationError(
            f"Layer '{layer.name}': fetch{taken} of its source, {type(source).__name__}, takes no epoch. Write "
            "def fetch(self, rows, epoch, out): the rows belong to that epoch; ignore it where every epoch is alike."
        )
