"""`Transformer`: a change to rows between a source and a net."""

from __future__ import annotations

from abc import ABC, abstractmethod
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from mocha_core.graph.value import Spec

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np
    from numpy.typing import NDArray


class Transformer(ABC):
    """Changes the rows of one top of a data layer: `transformers=[("data", Scale(1 / 256))]`.

    It is a pure function of a row, the seed, the epoch and the row's number. It does not depend on the rest of the
    minibatch or on earlier calls. It runs on the host, so its results are the same on every backend, and a resumed run
    draws the same numbers as an uninterrupted one.

    Attributes:
        fixed: whether the result for a row is the same in every epoch. Only then may the rows of a fixed source stay on
            the device.
    """

    fixed: bool = False

    def infer(self, row: Spec) -> Spec:
        """The shape and dtype of a transformed row, from those of a row; by default, the same.

        Raises:
            MochaError: it cannot work on such rows.
        """
        return row

    @abstractmethod
    def transform(self, rows: NDArray[Any], seed: int, epoch: int, numbers: NDArray[np.int64]) -> NDArray[Any]:
        """Transform rows; the result has the inferred shape.

        Args:
            rows: (n, ...), in the dtype of the net. They may be overwritten and returned.
            seed: 64 bits from the system's seed and the transformer's position in the list of its layer. One object
                that is listed for several tops has one seed, and draws the same numbers for all of them.
            epoch: the epoch that the rows are for, from 0 on.
            numbers: each row's number in its source.
        """


def draw(seed: int, epoch: int, numbers: NDArray[np.int64], count: int = 1) -> NDArray[np.float32]:
    """Random numbers in [0, 1) of shape (len(numbers), count), a function of seed, epoch and row number alone.

    Philox4x32-10, as in `mocha_core.graph.random`. Key: the seed. Counter: (column // 4, the row number's low and
    high 32 bits, epoch).
    """
    import numpy as np

    from mocha_core.graph.random import philox

    groups = -(-count // 4)
    shape = (len(numbers), groups)
    row = np.asarray(numbers, np.uint64)[:, None]
    low, shift = np.uint64(0xFFFFFFFF), np.uint64(32)
    words = (np.arange(groups, dtype=np.uint64)[None, :], row & low, row >> shift, np.uint64(epoch) & low)
    a, b, c, d = (np.broadcast_to(word, shape) for word in words)
    bits = np.stack(philox(np, (a, b, c, d), (seed & 0xFFFFFFFF, seed >> 32 & 0xFFFFFFFF)), axis=2)
    return (bits.reshape(len(numbers), 4 * groups)[:, :count] >> np.uint64(8)).astype(np.float32) * np.float32(2**-24)


def seeds(seed: int, transformers: Iterable[Transformer]) -> list[int]:
    """A seed for each transformer of a list, from the first position of the object in it."""
    listed = list(transformers)
    places = [next(i for i, other in enumerate(listed) if other is one) for one in listed]
    texts = [f"{seed} transformer {place}".encode() for place in places]
    return [int.from_bytes(blake2b(text, digest_size=8).digest(), "little") for text in texts]
