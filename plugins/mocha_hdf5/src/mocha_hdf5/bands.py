"""`Bands`: a cache of decompressed chunks for the next minibatch."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: The number of bytes of decompressed chunks that are kept for each top, over all files of a list.
CHUNK_CACHE = 32 * 2**20


class Bands:
    """The most recently used arrays by key, up to `CHUNK_CACHE` bytes.

    A band is all chunks that share rows.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[Hashable, tuple[int, NDArray[Any]]] = OrderedDict()
        self._nbytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    def __contains__(self, key: Hashable) -> bool:
        return key in self._kept

    def get(self, key: Hashable, nbytes: int, make: Callable[[], NDArray[Any]]) -> NDArray[Any]:
        """The array with that key. If it is not kept, `make` makes it, with the given number of bytes."""
        if (kept := self._kept.get(key)) is not None:
            self._kept.move_to_end(key)
            return kept[1]
        made = make()
        self._kept[key] = nbytes, made
        self._nbytes += nbytes
        while self._nbytes > CHUNK_CACHE and len(self._kept) > 1:
            self._nbytes -= self._kept.popitem(last=False)[1][0]
        return made

    def clear(self) -> None:
        """Drop all arrays."""
        self._kept.clear()
        self._nbytes = 0
