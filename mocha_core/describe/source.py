"""`Source`: where rows come from."""

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
        prefetch: fetching is slow enough to be worth a thread of its own.
        seed: what the order is shuffled with; None keeps the rows in order.
    """

    rows: int
    specs: tuple[Spec, ...]
    prefetch: bool = False
    seed: int | None = None

    def order(self, epoch: int) -> NDArray[np.int64]:
        """The row numbers in the order of this epoch: a pure function of seed and epoch."""
        if self.seed is None:
            return np.arange(self.rows, dtype=np.int64)
        return np.random.default_rng([self.seed, epoch]).permutation(self.rows).astype(np.int64)

    @abstractmethod
    def fetch(self, rows: NDArray[np.int64], out: Sequence[NDArray[Any]]) -> None:
        """Write the given rows into `out`, one array of shape (len(rows), ...) per top, casting as needed.

        Called by one thread at a time, not always by the same.

        Raises:
            MochaError: the rows cannot be had. Other errors come to the user as the cause of a `DataError`.
        """

    def close(self) -> None:
        """Release files. The source is not used afterwards."""
