"""`Source`: the base class of sources of rows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mocha_core.graph.value import Spec

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Source(ABC):
    """A table of rows behind a data layer.

    Attributes:
        rows: how many rows there are, at least 1.
        specs: shape and dtype of one row, for each top.
        prefetch: whether a thread fetches ahead, which pays if fetching is slow. Unless the source is `fixed`, the
            thread fetches ahead within one run only, so that every run sees the rows as they are when it begins, or
            newer.
        fixed: whether a row is the same in every epoch, and never changes. Only then may a backend keep the rows on its
            device, and the thread fetch several small minibatches in one call.
        seed: the seed of the shuffled order; None keeps the rows in order. The data layers of a net share one order:
            take the seed that `DataLayer.open` receives.
    """

    rows: int
    specs: tuple[Spec, ...]
    prefetch: bool = False
    fixed: bool = False
    seed: int | None = None

    def order(self, epoch: int) -> NDArray[np.int64]:
        """The row numbers in the order of this epoch: a pure function of seed and epoch.

        Several threads may call it at once.
        """
        if self.seed is None:
            return np.arange(self.rows, dtype=np.int64)
        return np.random.default_rng([self.seed, epoch]).permutation(self.rows).astype(np.int64)

    @abstractmethod
    def fetch(self, rows: NDArray[np.int64], epoch: int, out: Sequence[NDArray[Any]]) -> None:
        """Write the given rows into `out`, one array of shape (len(rows), ...) per top, casting as needed.

        Only one thread at a time calls it, but not always the same thread.

        Args:
            rows: row numbers, all of one epoch. A minibatch that wraps around the end of the data takes two calls.
            epoch: the epoch that the rows are for, from 0 on. The random numbers of an augmentation must depend only on
                the seed, the epoch and the row number, so that resuming is exact.
            out: arrays for the rows, in the dtype of the net.

        Raises:
            MochaError: the rows cannot be fetched. The user gets any other error as the cause of a `DataError`.
        """

    def close(self) -> None:
        """Release files. The source is not used afterwards."""
