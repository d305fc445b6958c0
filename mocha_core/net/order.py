"""`Order`: the order of rows in each epoch, one for all data layers of a net."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from mocha_core.compile.budget import allocating
from mocha_core.describe.source import Source
from mocha_core.errors import ConfigurationError, DataError, MochaError, ShapeError
from mocha_core.graph.value import Spec

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Order:
    """The order of the rows in each epoch, which the sources of some data layers have in common.

    Args:
        sources: by the name of their data layer, of equal numbers of rows.

    Raises:
        ShapeError: the sources have different numbers of rows.
        ConfigurationError: they are shuffled differently.
    """

    def __init__(self, sources: Mapping[str, Source]) -> None:
        self._sources = sources
        self._drawn: dict[int, NDArray[np.int64]] = {}
        self.rows = next(iter(sources.values())).rows
        if any(source.rows != self.rows for source in sources.values()):
            listed = ", ".join(f"'{name}' {source.rows}" for name, source in sources.items())
            raise ShapeError(
                f"Expected the same number of rows in all data layers of a net, received {listed}. Row i of one goes "
                "with row i of the others."
            )
        seeds = {name: s.seed for name, s in sources.items() if _usual(s)}
        if len(set(seeds.values())) > 1:
            listed = ", ".join(f"'{name}' {_shuffled(seed)}" for name, seed in seeds.items())
            raise ConfigurationError(
                f"Expected one order of rows for all data layers of a net, received {listed}. Set shuffle on all of "
                "them or on none; a source of your own shuffles with the seed that open(seed) is given."
            )

    def parts(self, start: int, count: int, wrap: bool) -> Iterator[tuple[int, NDArray[np.int64]]]:
        """Yield the `count` rows after the first `start`, one pair (epoch, row numbers) for each epoch.

        Without `wrap` they end with the first epoch.
        """
        while count > 0:
            epoch, at = divmod(start, self.rows)
            rows = self._epoch(epoch)[at : at + count]
            yield epoch, rows
            start, count = start + len(rows), count - len(rows) if wrap else 0

    def rows_from(self, start: int, count: int, wrap: bool = True) -> NDArray[np.int64]:
        """The numbers of the `count` rows after the first `start`; without `wrap`, the epoch's last row is repeated."""
        rows = np.concatenate([rows for _, rows in self.parts(start, count, wrap)])
        return rows if len(rows) == count else rows[np.minimum(np.arange(count), len(rows) - 1)]

    def _epoch(self, epoch: int) -> NDArray[np.int64]:
        # Prefetching threads call this, too. Two that draw one epoch at the same time get the same order.
        order = self._drawn.get(epoch)
        if order is None:
            (first, source), *others = self._sources.items()
            order = _draw(first, source, epoch)
            for name, other in others:
                if not (_usual(source) and _usual(other)) and not np.array_equal(_draw(name, other, epoch), order):
                    raise DataError(
                        f"Layer '{name}': order({epoch}) of its source, {type(other).__name__}, is not that of layer "
                        f"'{first}' of this net. Give all data layers of a net one order, so that their rows belong "
                        "together."
                    )
            self._drawn = {e: o for e, o in self._drawn.items() if e >= epoch - 1} | {epoch: order}
        return order


def _usual(source: Source) -> bool:
    """Whether the order depends on the seed and the number of rows alone."""
    return getattr(source.order, "__func__", None) is Source.order


def _shuffled(seed: int | None) -> str:
    return "in order" if seed is None else f"shuffled with seed {seed}"


def _draw(layer: str, source: Source, epoch: int) -> NDArray[np.int64]:
    """A checked copy of the order that the source gives."""
    numbers = Spec((source.rows,), "int64")
    what = f"Layer '{layer}', row numbers of an epoch"
    try:
        with allocating(what, [("order", numbers)], "Use a smaller data set."):
            order = np.array(source.order(epoch))
            if order.shape != numbers.shape or order.dtype.kind not in "iu":
                raise ValueError(
                    f"expected row numbers of shape {numbers.shape}, received {order.shape} of {order.dtype}"
                )
    except MochaError:
        raise
    except Exception as error:
        raise failed(layer, source, "order", error) from error
    if order.min() < 0 or order.max() >= source.rows:
        raise DataError(
            f"Layer '{layer}': the order of a source with {source.rows} rows goes from row {order.min()} to row "
            f"{order.max()}. Fix its order(): expected numbers 0 to {source.rows - 1}."
        )
    return order.astype(np.int64, copy=False)


def failed(layer: str, source: Source, method: str, error: Exception) -> DataError:
    """The error to raise when a source raised an exception other than a `MochaError`."""
    return DataError(
        f"Layer '{layer}': {method}() of its source, {type(source).__name__}, failed: {type(error).__name__}: "
        f"{error}. Look at that error above, and fix the data or the source."
    )
